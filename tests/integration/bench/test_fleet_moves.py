import pytest

from bench.fleet.cluster import Cluster
from bench.fleet.course import adopt, followed, populate, rest
from bench.fleet.objects import STEP
from bench.fleet.operators import operators
from controller.kubelet import FakeKubelet
from devcluster.pytest_progress import reporter

pytestmark = pytest.mark.integration

WRITES_SEEN_ONE_BY_ONE = 15
"""More than the 12 that the bench holds a fleet of thousands to: so small a fleet shares the writes for its servers and
the release among few, and a slow machine shows the operator each state of a Job by itself."""


async def test_a_fleet_of_a_hundred_moves_to_a_new_base(request: pytest.FixtureRequest) -> None:
    report = reporter(request.config)
    with (
        Cluster(report, kwok=False) as cluster,
        FakeKubelet(cluster.kubeconfig, node="stand-in") as kubelet,
        operators(cluster) as started,
    ):
        kubelet.at_once = True
        async with followed(cluster, STEP, say=print) as fleet:
            await populate(fleet)
            leader = await started.start_leader("--resync-seconds", "2")
            await adopt(fleet)

            passage = await fleet.pass_over(2, leader)
            resting = await rest(fleet, leader, seconds=6)

    assert passage.verdict.bindings == STEP
    assert passage.verdict.lost == 0
    assert passage.jobs == STEP
    assert passage.duplicates == 0
    assert passage.writes_per_binding <= WRITES_SEEN_ONE_BY_ONE
    assert resting.writes == 0

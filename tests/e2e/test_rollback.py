"""A roll-out that never gets ready takes nothing from what serves."""

import pytest

from e2e import facts
from e2e.clusterapi import Ref
from e2e.world import WORKLOAD, Stage

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("rollback")
def test_set_that_never_gets_ready_gives_way_to_the_previous_one(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace, refused_release=stage.r2, progressDeadlineSeconds=20)
    binding = stage.apply_binding("classifier", namespace, server=(namespace, server.name))
    stage.await_served(server, stage.r1, 1)
    old_pods = _uids(stage, namespace)

    release = stage.apply_second_release()
    thing = stage.await_condition(binding, "UpToDate", "False", "RolledBack")
    workload = Ref("Deployment", namespace, WORKLOAD)
    stage.wait("the old set to be rolled out again", lambda: facts.available(stage.current(workload)) or None)

    sets = facts.sets_over_time(stage.world.chronicle.history(workload))
    assert [each.release for each in sets][-3:] == [stage.r1, stage.r2, stage.r1]
    assert sets[-1] == sets[-3]
    status = stage.current(server)["status"]
    assert status["current"]["setDigest"] == sets[-1].digest
    assert status["rolledBack"][-1]["releaseName"] == stage.r2
    assert status["rolledBack"][-1]["setDigest"] == sets[-2].digest
    done = stage.await_condition(release, "Complete", "True", "CompletedWithFailures")
    assert done["status"]["bindings"]["failed"] == 1
    assert facts.condition(thing, "Ready") == ("True", "Promoted")
    assert thing["status"]["current"]["releaseName"] == stage.r1
    assert [answer["release"] for answer in stage.served_by_pods(namespace)] == [stage.r1]
    assert _uids(stage, namespace) == old_pods, "the pod that served was replaced"


def _uids(stage: Stage, namespace: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in stage.serving_pods(namespace)]

import signal
import time
from collections.abc import Callable

import pytest

from controller.api import Api, eventually
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet, artifact_of, passes_at
from controller.replica import Replica
from controller.rights import NAMESPACE
from relora_operator.loop.queue import PROGRESS_PAUSE_SECONDS

pytestmark = pytest.mark.integration

RESYNC = ("--resync-seconds", "2")


def test_a_release_changes_what_is_served(
    start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet
) -> None:
    replica = start_replica(*RESYNC)
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    kubelet.ending = passes_at("fuse")

    fleet.release(fleet.r2, fleet.r1)

    eventually(lambda: fleet.serves(fleet.r2), "the second release is served")
    eventually(lambda: fleet.complete(fleet.r2), "the release is complete")
    assert len(fleet.jobs) == 3
    for name in fleet.names:
        candidate = fleet.binding(name)["status"].get("candidate") or {}
        adapter = fleet.binding(name)["status"]["current"]["adapter"]["digest"]
        steps = [(step["name"], step.get("verdict")) for step in candidate["steps"]]
        assert steps == [("port", "Failed"), ("fuse", "Passed"), ("recover", None), ("refine", None)]
        assert adapter == artifact_of("fuse", candidate["requestDigest"])
        assert adapter in fleet.served_set()
    assert f'"release":"{fleet.r2}"' in fleet.served_set()


def test_at_rest_the_operator_writes_nothing_but_its_lease(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    replica = start_replica(*RESYNC)
    replica.await_lead()
    fleet.release(fleet.r2, fleet.r1)
    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the second release is served")
    eventually(lambda: at_rest(replica, api, fleet), "the fleet is at rest")
    before, writes = versions(api, fleet), replica.writes()
    lease = api.get("Lease", "relora-operator", NAMESPACE)["metadata"]["resourceVersion"]
    start = passes(replica)

    eventually(lambda: passes(replica) >= start + 3, "three comparisons with the API server")

    assert replica.writes() == writes
    assert versions(api, fleet) == before
    assert api.get("Lease", "relora-operator", NAMESPACE)["metadata"]["resourceVersion"] != lease
    assert replica.resident_mebibytes() < 150


@pytest.mark.usefixtures("kubelet")
def test_a_standby_follows_the_fleet_and_leaves_telling_of_it_to_the_leader(
    start_replica: Callable[..., Replica], fleet: Fleet
) -> None:
    leader = start_replica(name="leader")
    leader.await_lead()
    standby = start_replica(name="standby")
    fleet.release(fleet.r2, fleet.r1)
    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the second release is served")
    eventually(lambda: leader.metric(told(fleet.r2)) == len(fleet.names), "the leader tells of the bindings")

    assert standby.metric(told(fleet.r2)) == 0, "a sum over the replicas would count them twice"
    assert standby.writes() == 0
    leader.stop(signal.SIGTERM)

    eventually(lambda: standby.metric(told(fleet.r2)) == len(fleet.names), "the standby leads and tells of them")
    lists = r'relora_client_request_seconds_count\{.*resource="adapterbindings",verb="GET"'
    assert standby.metric(lists) <= 2, "it was read whole once, and compared once"


def told(release: str) -> str:
    """Return a pattern for what is told of a release's bindings."""
    return rf'relora_bindings\{{.*release="{release}"'


KINDS = ("BaseModelRelease", "AdapterBinding", "AdapterServer", "TrainerProfile", "Job", "Deployment", "Event")


def versions(api: Api, fleet: Fleet) -> dict[str, str]:
    """Return the resourceVersion of every object of the fleet that the operator could write.

    What earlier tests left goes on to be deleted by others.
    """
    return {
        found["metadata"]["uid"]: found["metadata"]["resourceVersion"]
        for kind in KINDS
        for found in api.everywhere(kind)
        if found["metadata"].get("namespace") == fleet.namespace or found["metadata"]["name"].startswith(fleet.model)
    }


def passes(replica: Replica) -> float:
    """Return how often releases were listed: once in each comparison with the API server."""
    return replica.metric(r'relora_client_request_seconds_count\{.*resource="basemodelreleases".*verb="GET"')


def at_rest(replica: Replica, api: Api, fleet: Fleet) -> bool:
    """Tell whether nothing changed for two comparisons with the API server, and as long as progress may go untold."""
    before, start = (versions(api, fleet), replica.writes()), passes(replica)
    time.sleep(PROGRESS_PAUSE_SECONDS + 1)
    eventually(lambda: passes(replica) >= start + 2, "two comparisons with the API server")
    return (versions(api, fleet), replica.writes()) == before


@pytest.mark.parametrize("phase", ["delta", "port", "rollout"])
def test_a_leader_that_is_killed_in_a_phase_changes_no_result(
    start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet, phase: str
) -> None:
    first = start_replica(*RESYNC, name="first")
    first.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    kubelet.paused = phase != "rollout"
    kubelet.serving_ready = phase != "rollout"
    fleet.release(fleet.r2, fleet.r1)
    if phase == "delta":
        eventually(lambda: len(fleet.jobs) == 1, "the delta Job")
    elif phase == "port":
        kubelet.paused = False
        eventually(lambda: any(step == "port" for _, step in kubelet.steps_run), "a step has run")
    else:
        eventually(lambda: f'"release":"{fleet.r2}"' in fleet.served_set(), "the new set is on the workload")

    first.stop(signal.SIGKILL)
    kubelet.paused = False
    kubelet.serving_ready = True
    second = start_replica(*RESYNC, name="second")
    second.await_lead()

    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the second release is served")
    assert len(fleet.jobs) == 3, "a Job was made twice"
    assert len(kubelet.steps_run) == len(set(kubelet.steps_run)), "a step was run twice"


def test_what_the_watches_missed_is_found_by_the_next_leader_and_by_the_resync(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    replica = start_replica(*RESYNC)
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    assert not kubelet.steps_run

    replica.send(signal.SIGSTOP)
    api.delete("AdapterBinding", "two", fleet.namespace)
    replica.send(signal.SIGKILL)
    second = start_replica(*RESYNC, name="second")
    second.await_lead()

    eventually(lambda: "two-served" not in fleet.served_set(), "the deleted binding is not served")
    assert "one-served" in fleet.served_set()

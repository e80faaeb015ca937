import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.api import Api, eventually
from controller.replica import Replica
from controller.rights import ACCOUNT, NAMESPACE, kubeconfig_of
from devcluster.controlplane import ControlPlane
from samples.kinds import release

pytestmark = pytest.mark.integration

STUB = [sys.executable, "-m", "controller.stubs"]


@pytest.fixture
def ticking(api: Api) -> Iterator[str]:
    """A release for which the stub emits Events."""
    name = f"ticking-{uuid.uuid4().hex[:8]}"
    document = release(name)
    del document["spec"]["supersedes"]
    api.create(document)
    yield name
    api.delete("BaseModelRelease", name)


@pytest.fixture(autouse=True)
def without_a_lease(api: Api) -> None:
    """Each test starts without waiting for the Lease of the one before."""
    if api.within("Lease", NAMESPACE):
        api.delete("Lease", "relora-operator", NAMESPACE)


def ticks(api: Api, name: str) -> list[tuple[str, str]]:
    """Return time and author of the Events that the stubs emitted."""
    events = [event for event in api.within("Event", "default") if event["regarding"]["name"] == name]
    return sorted((event["eventTime"], event["note"].split()[0]) for event in events)


def authors(api: Api, name: str) -> set[str]:
    return {author for _, author in ticks(api, name)}


@pytest.fixture
def blind_replica(plane: ControlPlane, operator_kubeconfig: Path, tmp_path: Path) -> Iterator[Replica]:
    """A replica whose account may use the Lease and read nothing."""
    assert operator_kubeconfig.exists(), "the namespace and the roles are there"
    plane.kubectl("create", "serviceaccount", "blind", "-n", NAMESPACE)
    plane.kubectl(
        *("create", "rolebinding", "blind", "-n", NAMESPACE),
        *(f"--role={ACCOUNT}", f"--serviceaccount={NAMESPACE}:blind"),
    )
    replica = Replica(kubeconfig_of(plane, tmp_path, "blind"), tmp_path / "blind.log", name="blind")
    yield replica
    replica.stop()
    plane.kubectl("delete", "serviceaccount,rolebinding", "blind", "-n", NAMESPACE)


def test_a_replica_that_cannot_read_the_cluster_is_not_ready_and_leaves_the_lease_to_one_that_can(
    blind_replica: Replica, start_replica: Callable[..., Replica], api: Api
) -> None:
    eventually(lambda: blind_replica.said("cannot be read yet"), "the blind one tries")
    unread = (500, "standby: the cluster has not been read yet\n")
    eventually(lambda: blind_replica.fetch("/readyz") == unread, "it says what it lacks")
    assert blind_replica.fetch("/healthz")[0] == 200
    assert api.within("Lease", NAMESPACE) == []

    start_replica(name="seeing").await_lead()


def start_two(start_replica: Callable[..., Replica]) -> tuple[Replica, Replica]:
    first = start_replica(name="first", command=STUB)
    first.await_lead()
    second = start_replica(name="second", command=STUB)
    eventually(lambda: second.said("endpoints") and second.fetch("/readyz")[0] == 200, "the standby is ready")
    eventually(lambda: second.said("follows the cluster"), "the standby has read the cluster")
    return first, second


def test_a_leader_that_was_suspended_writes_nothing_after_it_was_replaced(
    start_replica: Callable[..., Replica], api: Api, ticking: str
) -> None:
    first, second = start_two(start_replica)
    eventually(lambda: authors(api, ticking) == {"first"}, "the leader writes")
    first.send(signal.SIGSTOP)

    second.await_lead()
    eventually(lambda: "second" in authors(api, ticking), "the new leader writes")
    before = ticks(api, ticking)
    first.send(signal.SIGCONT)
    code = first.process.wait(60)

    assert code == 1
    assert first.said("no longer the leader")
    late = [tick for tick in ticks(api, ticking) if tick[1] == "first" and tick not in before]
    assert late == [], "the old leader wrote although another one leads"


def test_a_killed_leader_is_replaced(start_replica: Callable[..., Replica], api: Api, ticking: str) -> None:
    first, second = start_two(start_replica)
    first.stop(signal.SIGKILL)

    second.await_lead()
    eventually(lambda: "second" in authors(api, ticking), "the new leader writes")


def test_a_stopped_leader_hands_over_at_once(start_replica: Callable[..., Replica], api: Api, ticking: str) -> None:
    first, second = start_two(start_replica)
    assert second.metric("relora_leader") == 0
    assert first.metric("relora_leader") == 1

    assert first.stop(signal.SIGTERM) == 0
    holder = api.get("Lease", "relora-operator", NAMESPACE)["spec"].get("holderIdentity", "")

    assert not holder.startswith("first"), "the second would have to wait until the Lease runs out"
    second.await_lead()
    eventually(lambda: "second" in authors(api, ticking), "the new leader writes")


def test_a_standby_ends_when_it_is_told_to(start_replica: Callable[..., Replica]) -> None:
    first, second = start_two(start_replica)
    assert second.fetch("/healthz")[0] == 200
    assert second.stop(signal.SIGTERM) == 0
    assert first.process.poll() is None

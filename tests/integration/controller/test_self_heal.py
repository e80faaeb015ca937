"""A GitOps tool that owns the workload and applies it all the time, and the operator, leave each other alone."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic.types import JsonValue

from controller.api import Api, Document, eventually
from controller.fleet import Fleet, deployment
from controller.kubelet import FakeKubelet
from controller.replica import Replica
from controller.selfheal import MANAGER, SelfHeal
from devcluster.controlplane import ControlPlane
from relora_contract.wellknown import ANNOTATION_SERVING_SET, ANNOTATION_SERVING_SET_DIGEST, FIELD_MANAGER

pytestmark = pytest.mark.integration

# On a machine that is very busy the usual Lease of these tests is lost, and nothing restarts the operator here.
OPTIONS = ("--resync-seconds", "2", "--lease-duration-seconds", "60")

EVERY_SECONDS = 0.2
SOAK_SECONDS = 15


@pytest.fixture
def replica(start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet) -> Replica:
    """An operator whose fleet is on its first release."""
    assert kubelet.serving_ready
    started = start_replica(*OPTIONS)
    started.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    return started


def owned(document: Document, manager: str) -> dict[str, Any]:
    """Return the fields that a manager owns by apply."""
    (entry,) = (
        entry
        for entry in document["metadata"]["managedFields"]
        if entry["manager"] == manager and entry["operation"] == "Apply" and "subresource" not in entry
    )
    fields: dict[str, Any] = entry["fieldsV1"]
    return fields


def state(document: Document) -> tuple[int, str]:
    """Return what another roll-out would change: the generation, and the digest of the set."""
    return (
        document["metadata"]["generation"],
        document["spec"]["template"]["metadata"]["annotations"][ANNOTATION_SERVING_SET_DIGEST],
    )


def replica_sets(api: Api, fleet: Fleet) -> set[str]:
    return {found["metadata"]["name"] for found in api.within("ReplicaSet", fleet.namespace)}


def holds(live: JsonValue, wanted: JsonValue) -> bool:
    """Tell whether all that is wanted is there."""
    match live, wanted:
        case dict(), dict():
            return all(key in live and holds(live[key], value) for key, value in wanted.items())
        case list(), list():
            return len(live) == len(wanted) and all(map(holds, live, wanted))
    return live == wanted


def patches(replica: Replica) -> float:
    """Return how often the operator wrote to a workload."""
    return replica.metric(r'relora_client_request_seconds_count\{.*resource="deployments".*verb="PATCH"')


def test_a_workload_that_is_applied_five_times_a_second_moves_to_a_release_in_one_step(
    replica: Replica, fleet: Fleet, api: Api, plane: ControlPlane
) -> None:
    manifest = deployment("vllm", fleet.namespace)
    with SelfHeal(plane.kubeconfig, manifest, every_seconds=EVERY_SECONDS) as git:
        eventually(lambda: len(git.answers) > 3, "the workload is Git's")
        before, sets_before, written = git.answers[-1], replica_sets(api, fleet), patches(replica)

        fleet.release(fleet.r2, fleet.r1)
        eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the second release is served")
        eventually(lambda: len(replica_sets(api, fleet)) == len(sets_before) + 1, "one ReplicaSet is new")
        sets, start = replica_sets(api, fleet), len(git.answers)
        time.sleep(SOAK_SECONDS)
        soaked = git.answers[start:]

    assert len(soaked) > SOAK_SECONDS / EVERY_SECONDS / 4, "the machine was too busy for this test"
    # Nothing flaps: the one change of all that time is the new set.
    (generation, _), after = state(before), state(soaked[-1])
    assert [key for key, _ in itertools.groupby(map(state, git.answers))] == [state(before), after]
    assert after[0] == generation + 1
    assert replica_sets(api, fleet) == sets
    assert patches(replica) == written + 1
    # Nothing of Git's was changed.
    for answer in git.answers:
        assert holds(answer, manifest)
        assert owned(answer, MANAGER) == owned(git.answers[0], MANAGER)
    # Nothing of ours was lost, and it is all that is ours.
    live = api.get("Deployment", "vllm", fleet.namespace)
    annotations = live["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations[ANNOTATION_SERVING_SET])["release"] == fleet.r2
    ours: dict[str, dict[str, str]] = {
        f"f:{name}": {} for name in (ANNOTATION_SERVING_SET, ANNOTATION_SERVING_SET_DIGEST)
    }
    assert owned(live, FIELD_MANAGER) == {"f:spec": {"f:template": {"f:metadata": {"f:annotations": ours}}}}
    assert "annotations" not in json.dumps(owned(live, MANAGER))


def test_a_client_side_apply_of_the_same_manifest_changes_nothing(
    replica: Replica, fleet: Fleet, api: Api, plane: ControlPlane
) -> None:
    assert replica.leads
    manifest = json.dumps(deployment("vllm", fleet.namespace))
    plane.kubectl("apply", "-f", "-", input=manifest)
    before = state(api.get("Deployment", "vllm", fleet.namespace))

    plane.kubectl("apply", "-f", "-", input=manifest)

    assert state(api.get("Deployment", "vllm", fleet.namespace)) == before

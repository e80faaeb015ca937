import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.api import Api, condition, eventually
from controller.fleet import Fleet, deployment
from controller.kubelet import FakeKubelet
from controller.replica import Replica

pytestmark = pytest.mark.integration

RESYNC = ("--resync-seconds", "2")
SET = "relora.dev/serving-set"


@pytest.fixture
def served(start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet) -> Fleet:
    """A fleet whose first release is served."""
    assert kubelet.serving_ready
    start_replica(*RESYNC).await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    return fleet


def workload(api: Api, fleet: Fleet) -> dict[str, Any]:
    return api.get("Deployment", "vllm", fleet.namespace)


def annotate(api: Api, fleet: Fleet, value: str) -> None:
    """Overwrite the set as `kubectl edit` would."""
    patch = {"spec": {"template": {"metadata": {"annotations": {SET: value}}}}}
    api.merge("Deployment", "vllm", patch, fleet.namespace)


def test_a_manifest_that_is_applied_again_from_git_leaves_the_set_alone(served: Fleet, api: Api) -> None:
    before = workload(api, served)

    manifest = deployment("vllm", served.namespace)
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/server:2"
    api.apply(manifest, "flux&force=true")

    after = workload(api, served)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    annotations = after["spec"]["template"]["metadata"]["annotations"]
    assert annotations == before["spec"]["template"]["metadata"]["annotations"]
    eventually(lambda: served.serves(served.r1), "the changed workload is rolled out")


def test_a_workload_that_was_made_anew_gets_its_set_back(served: Fleet, api: Api) -> None:
    before = served.served_set()

    api.delete("Deployment", "vllm", served.namespace)
    eventually(lambda: condition(served.server, "Stalled")["reason"] == "TargetNotFound", "the loss is told")
    api.create(deployment("vllm", served.namespace))

    eventually(lambda: served.served_set() == before, "the set is on the new workload")
    eventually(lambda: served.serves(served.r1), "the new workload is rolled out")


def test_a_set_that_another_manager_owns_is_reported_and_not_taken_by_force(served: Fleet, api: Api) -> None:
    ours = served.served_set()
    foreign = json.dumps({"release": "none"})
    annotate(api, served, foreign)

    eventually(lambda: condition(served.server, "Stalled").get("reason") == "FieldConflict", "the conflict is told")
    assert served.served_set() == foreign
    assert condition(served.server, "Ready")["status"] != "True"

    patch: dict[str, Any] = {"spec": {"template": {"metadata": {"annotations": {SET: None}}}}}
    api.merge("Deployment", "vllm", patch, served.namespace)
    eventually(lambda: served.served_set() == ours, "the set is back when the other manager lets go")


def test_a_workload_without_its_owners_consent_is_not_touched(served: Fleet, api: Api) -> None:
    api.merge("Deployment", "vllm", {"metadata": {"labels": {"relora.dev/adapter-server": None}}}, served.namespace)
    eventually(lambda: condition(served.server, "Stalled").get("reason") == "ConsentMissing", "the lack is told")
    version = workload(api, served)["metadata"]["generation"]

    api.delete("AdapterBinding", "two", served.namespace)
    eventually(lambda: served.release_counts(served.r1) == 1, "the operator has seen the deletion")
    label = {"metadata": {"labels": {"relora.dev/adapter-server": "vllm"}}}
    assert workload(api, served)["metadata"]["generation"] == version
    api.merge("Deployment", "vllm", label, served.namespace)

    eventually(lambda: "two-served" not in served.served_set(), "the set follows once the owner consents again")

"""The Jobs that are created, whole, and what the API server and the pods demand of them."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from fleet.builders import delta_record, digest, make_binding, make_profile, make_release, with_delta
from relora_contract.api.profile import TrainerProfile
from relora_contract.exitcodes import TERMINAL, ExitCode
from relora_contract.request import STEP_REQUEST, DeltaRequest, ReadaptationRequest
from relora_contract.scalars import LABEL_PATTERN
from relora_contract.serving import Engine
from relora_contract.wellknown import ANNOTATION_STEP_REQUEST
from relora_operator.core.work import DeltaWork, image_digest
from relora_operator.manifests.jobs import JobManifest, RequestTooLargeError, delta_job, readaptation_job
from relora_operator.manifests.requests import MountedRequest, delta_request, readaptation_request

Expect = Callable[[str, str], None]

PROFILE = make_profile(
    serviceAccountName="relora-trainer",
    credentials=[{"uriPrefix": "s3://models", "secretName": "model-reader"}],
    resources={"limits": {"nvidia.com/gpu": "1", "memory": "64Gi"}, "requests": {"cpu": "4", "memory": "64Gi"}},
    scheduling={
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "batch",
    },
    scratchSizeLimit="200Gi",
)
QUEUED = make_profile(scheduling={"localQueueName": "gpus", "workloadPriorityClassName": "adapters"})
RELEASE = with_delta(make_release("r2", "r1"), delta_record("r1", "r2"))


def readaptation(*, report: bool = False, profile: TrainerProfile = PROFILE, **spec: object) -> JobManifest:
    work = make_binding().with_spec(**spec).work("r2", profile)
    mounted = readaptation_request(
        work, profile, delta_manifest_digest=digest("delta"), engine=Engine.PEFT, max_lora_rank=32
    )
    return readaptation_job(work, 1, mounted, profile, report=report)


def delta(*, report: bool = False) -> JobManifest:
    work = DeltaWork(
        source_release="r1",
        source_base=make_binding().work("r2").start.base,
        target=RELEASE,
        image=image_digest(PROFILE),
    )
    return delta_job(work, 2, delta_request(work, PROFILE), PROFILE, namespace="relora-system", report=report)


MANIFESTS: dict[str, Callable[[], JobManifest]] = {
    "readaptation": readaptation,
    "readaptation-portllm": lambda: readaptation(readaptation={"strategy": "PortLLM", "activeDeadlineSeconds": 600}),
    "readaptation-report": lambda: readaptation(report=True),
    "readaptation-queued": lambda: readaptation(profile=QUEUED),
    "readaptation-queued-report": lambda: readaptation(report=True, profile=QUEUED),
    "delta": delta,
    "delta-report": lambda: delta(report=True),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifest_is_the_expected_one(name: str, expect: Expect) -> None:
    job = MANIFESTS[name]()
    document = yaml.safe_load(yaml.safe_dump(job.manifest))
    annotations = document["spec"]["template"]["metadata"]["annotations"]
    request = yaml.safe_load(annotations.pop(ANNOTATION_STEP_REQUEST))
    text = yaml.safe_dump_all([document, {"stepRequest": request}], sort_keys=True, width=120)
    expect(f"manifests/{name}.yaml", text)


def pod_spec(job: JobManifest) -> dict[str, Any]:
    document: Any = job.manifest
    spec: dict[str, Any] = document["spec"]["template"]["spec"]
    return spec


def containers(job: JobManifest) -> Iterator[dict[str, Any]]:
    spec = pod_spec(job)
    yield from (*spec["initContainers"], *spec["containers"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_pod_is_restricted(name: str) -> None:
    spec = pod_spec(MANIFESTS[name]())
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(MANIFESTS[name]()):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_steps_run_in_sequence_and_the_last_is_the_main_container() -> None:
    spec = pod_spec(readaptation())
    assert [container["name"] for container in spec["initContainers"]] == ["port", "fuse", "recover"]
    assert [container["name"] for container in spec["containers"]] == ["refine"]
    assert [container["args"] for container in containers(readaptation())] == [
        ["step", "port"],
        ["step", "fuse"],
        ["step", "recover"],
        ["step", "refine"],
    ]
    assert len({yaml.safe_dump(container["resources"]) for container in containers(readaptation())}) == 1


def test_a_report_job_asks_for_no_gpu() -> None:
    for container in containers(readaptation(report=True)):
        assert container["args"][0] == "report"
        assert not [name for name in container["resources"].get("limits", {}) if "/" in name]


def test_every_secret_is_mounted_once_and_every_prefix_points_to_a_mount() -> None:
    secrets = {"secretRef": {"name": "tenant"}}
    binding = make_binding().build().spec
    source = {**binding.source.model_dump(by_alias=True, exclude_none=True), **secrets}
    task = binding.task.model_dump(by_alias=True, exclude_none=True, mode="json")
    task["dataset"] |= secrets
    job = _with_secrets(source, task)
    request = _request(job.manifest)
    assert isinstance(request, ReadaptationRequest)
    mounts = {mount["mountPath"] for mount in next(containers(job))["volumeMounts"]}
    by_prefix = {credential.uri_prefix: credential.directory for credential in request.credentials}
    assert set(by_prefix) == {
        "s3://",
        "s3://models",
        "s3://adapters/team",
        binding.source.uri,
        *(f"s3://data/classifier/{part}.jsonl" for part in ("train", "validation", "test")),
    }
    assert set(by_prefix.values()) <= mounts
    names = [volume["secret"]["secretName"] for volume in pod_spec(job)["volumes"] if "secret" in volume]
    assert names == ["model-reader", "relora-store", "tenant"]


def test_what_a_job_writes_is_written_with_the_secret_of_the_store() -> None:
    # The deltas lie below a prefix for which the profile names a secret that may only read.
    request = _request(delta().manifest)
    secrets = [volume["secret"]["secretName"] for volume in pod_spec(delta())["volumes"] if "secret" in volume]
    (written,) = (mount for mount in request.credentials if mount.uri_prefix == "s3://models/deltas")
    assert secrets[int(written.directory.rpartition("/")[2])] == "relora-store"


def _with_secrets(source: Mapping[str, object], task: Mapping[str, object]) -> JobManifest:
    work = make_binding().with_spec(source=source, task=task).work("r2", PROFILE)
    mounted = readaptation_request(work, PROFILE, delta_manifest_digest=None, engine=Engine.PEFT, max_lora_rank=32)
    return readaptation_job(work, 1, mounted, PROFILE)


def _request(manifest: Mapping[str, Any]) -> DeltaRequest | ReadaptationRequest:
    return STEP_REQUEST.validate_json(manifest["spec"]["template"]["metadata"]["annotations"][ANNOTATION_STEP_REQUEST])


def test_terminal_exit_codes_end_the_job_after_disruptions_were_ignored() -> None:
    document: Any = readaptation().manifest
    rules = document["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert (rules[1]["action"], rules[1]["onExitCodes"]["values"]) == ("Ignore", [ExitCode.STOPPED])
    assert rules[2]["action"] == "FailJob"
    assert rules[2]["onExitCodes"]["values"] == list(TERMINAL)
    assert all("containerName" not in rule["onExitCodes"] for rule in rules[1:])


def test_a_job_for_a_queue_is_suspended_until_the_queue_lets_it_go_and_a_report_needs_none() -> None:
    queued: Any = readaptation(profile=QUEUED).manifest
    assert queued["spec"]["suspend"] is True
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "adapters"
    for other in (readaptation(), readaptation(report=True, profile=QUEUED)):
        document: Any = other.manifest
        assert "suspend" not in document["spec"]
        assert not [label for label in document["metadata"]["labels"] if "kueue" in label]


@pytest.mark.parametrize("name", MANIFESTS)
def test_labels_are_valid_and_the_owner_is_the_controller(name: str) -> None:
    document: Any = MANIFESTS[name]().manifest
    for value in document["metadata"]["labels"].values():
        assert len(value) <= 63
        assert re.fullmatch(LABEL_PATTERN.replace("a-z", "A-Za-z"), value)
    (owner,) = document["metadata"]["ownerReferences"]
    assert owner["controller"] is True
    assert owner["kind"] == ("BaseModelRelease" if name.startswith("delta") else "AdapterBinding")


def test_a_request_that_fits_into_no_annotation_is_refused() -> None:
    work = make_binding().work("r2", PROFILE)
    mounted = readaptation_request(work, PROFILE, delta_manifest_digest=None, engine=Engine.PEFT, max_lora_rank=32)
    (item,) = mounted.request.items  # type: ignore[union-attr]  # a re-adaptation
    task = item.task.model_copy(update={"prompt_template": "x" * 70_000})
    request = mounted.request.model_copy(update={"items": [item.model_copy(update={"task": task})]})
    with pytest.raises(RequestTooLargeError, match=r"spec\.task\.promptTemplate"):
        readaptation_job(work, 1, MountedRequest(request=request, secrets=mounted.secrets), PROFILE)

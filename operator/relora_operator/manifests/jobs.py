"""The three Jobs: delta, re-adaptation, and the one that reports again what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic.types import JsonValue

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.meta import ObjectMeta
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.exitcodes import TERMINAL, ExitCode
from relora_contract.names import report_job_name
from relora_contract.wellknown import (
    API_VERSION,
    LABEL_ATTEMPT,
    LABEL_BINDING,
    LABEL_GATES,
    LABEL_JOB_KIND,
    LABEL_MANAGED_BY,
    LABEL_RELEASE,
    LABEL_REQUEST,
    MANAGED_BY,
    STEP_REQUEST_LIMIT_BYTES,
)
from relora_operator.core.work import DeltaWork, ReadaptationWork, label_of
from relora_operator.manifests.pods import Json, trainer_pod
from relora_operator.manifests.requests import MountedRequest

DEFAULT_ACTIVE_DEADLINE_SECONDS = 86_400
DELTA_ACTIVE_DEADLINE_SECONDS = 86_400
REPORT_ACTIVE_DEADLINE_SECONDS = 1_800
BACKOFF_LIMIT = 1
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"


class RequestTooLargeError(ValueError):
    """The StepRequest does not fit into an annotation."""


@dataclass(frozen=True, kw_only=True)
class JobManifest:
    """A Job ready to be created."""

    namespace: str
    name: str
    manifest: Json


def delta_job(
    work: DeltaWork,
    attempt: int,
    mounted: MountedRequest,
    profile: TrainerProfile,
    *,
    namespace: str,
    report: bool = False,
) -> JobManifest:
    """Return the Job that projects the difference of two bases, or the one that reports again how that ended.

    Both run in the operator's namespace.

    Raises:
        RequestTooLargeError: The request does not fit into an annotation.
    """
    name = work.job_name(attempt)
    return _job(
        kind="report" if report else "delta",
        name=report_job_name(name) if report else name,
        namespace=namespace,
        owner=_owner(BaseModelRelease.resource.kind, work.target.metadata),
        labels=_delta_labels(work, attempt),
        steps=("delta",),
        mounted=mounted,
        profile=profile,
        active_deadline_seconds=REPORT_ACTIVE_DEADLINE_SECONDS if report else DELTA_ACTIVE_DEADLINE_SECONDS,
    )


def readaptation_job(
    work: ReadaptationWork, attempt: int, mounted: MountedRequest, profile: TrainerProfile, *, report: bool = False
) -> JobManifest:
    """Return the Job that carries one adapter to a new base, or the one that reads what its steps have stored.

    Raises:
        RequestTooLargeError: The request does not fit into an annotation.
    """
    name = work.job_name(attempt)
    deadline = work.binding.spec.effective_readaptation.active_deadline_seconds or DEFAULT_ACTIVE_DEADLINE_SECONDS
    return _job(
        kind="report" if report else "readaptation",
        name=report_job_name(name) if report else name,
        namespace=work.binding.metadata.namespace,
        owner=_owner(AdapterBinding.resource.kind, work.binding.metadata),
        labels=_readaptation_labels(work, attempt),
        steps=work.plan.steps,
        mounted=mounted,
        profile=profile,
        active_deadline_seconds=REPORT_ACTIVE_DEADLINE_SECONDS if report else deadline,
    )


def _delta_labels(work: DeltaWork, attempt: int) -> dict[str, str]:
    return {
        LABEL_RELEASE: work.target.metadata.name,
        LABEL_REQUEST: label_of(work.request_digest),
        LABEL_ATTEMPT: str(attempt),
    }


def _readaptation_labels(work: ReadaptationWork, attempt: int) -> dict[str, str]:
    return {
        LABEL_BINDING: work.binding.metadata.name,
        LABEL_RELEASE: work.target.metadata.name,
        LABEL_REQUEST: label_of(work.request_digest),
        LABEL_GATES: label_of(work.gates_digest),
        LABEL_ATTEMPT: str(attempt),
    }


def _owner(kind: str, metadata: ObjectMeta) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _queue(profile: TrainerProfile) -> dict[str, JsonValue]:
    """Return Kueue's labels. With them a Job is created suspended: it must not run unqueued while Kueue is down."""
    scheduling = profile.spec.scheduling
    if scheduling is None or scheduling.local_queue_name is None:
        return {}
    priority = scheduling.workload_priority_class_name
    return {LABEL_QUEUE: scheduling.local_queue_name, **({LABEL_QUEUE_PRIORITY: priority} if priority else {})}


def _job(
    *,
    kind: str,
    name: str,
    namespace: str,
    owner: Json,
    labels: Mapping[str, str],
    steps: Sequence[str],
    mounted: MountedRequest,
    profile: TrainerProfile,
    active_deadline_seconds: int,
) -> JobManifest:
    size = len(mounted.annotation.encode())
    if size > STEP_REQUEST_LIMIT_BYTES:
        raise RequestTooLargeError(
            f"the request has {size} bytes, more than {STEP_REQUEST_LIMIT_BYTES}: "
            "shorten spec.task.promptTemplate or spec.task.choices"
        )
    all_labels: dict[str, JsonValue] = {
        "app.kubernetes.io/name": "relora-trainer",
        "app.kubernetes.io/component": kind,
        "app.kubernetes.io/part-of": "relora",
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_JOB_KIND: kind,
        **labels,
    }
    queue = _queue(profile) if kind != "report" else {}
    terminal_codes: list[JsonValue] = [int(code) for code in TERMINAL]
    manifest: Json = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**all_labels, **queue},
            "ownerReferences": [owner],
        },
        "spec": {
            **({"suspend": True} if queue else {}),
            "activeDeadlineSeconds": active_deadline_seconds,
            "backoffLimit": BACKOFF_LIMIT,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [int(ExitCode.STOPPED)]}},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": terminal_codes}},
                ]
            },
            "template": trainer_pod(
                command="report" if kind == "report" else "step",
                steps=steps,
                labels={label: str(value) for label, value in all_labels.items()},
                mounted=mounted,
                profile=profile,
            ),
        },
    }
    return JobManifest(namespace=namespace, name=name, manifest=manifest)

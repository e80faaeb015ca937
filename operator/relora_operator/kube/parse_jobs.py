"""Jobs of ours and pods, from JSON."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, Field, ValidationError

from relora_contract.api.meta import ObjectMeta
from relora_contract.model import Model
from relora_contract.report import Notification
from relora_contract.wellknown import (
    ANNOTATION_SERVING_SET_DIGEST,
    GROUP,
    LABEL_ATTEMPT,
    LABEL_GATES,
    LABEL_JOB_KIND,
    LABEL_REQUEST,
)
from relora_operator.core.observed import ContainerView, JobView, PodView
from relora_operator.kube.compact import compact
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import KubeCondition, true_condition, validated

MESSAGE_LIMIT = 1024


class _Meta(ObjectMeta):
    creation_time: AwareDatetime = Field(alias="creationTimestamp")


class _JobSpec(Model):
    suspend: bool = False
    ttl_seconds_after_finished: int | None = None


class _JobStatus(Model):
    conditions: list[KubeCondition] = Field(default_factory=list)
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None


class _Job(Model):
    metadata: _Meta
    spec: _JobSpec
    status: _JobStatus = Field(default_factory=_JobStatus)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """A Job and the object of ours that owns it."""

    view: JobView
    owner_kind: str = ""
    owner_name: str = ""


def parse_job(raw: JsonObject) -> JobRecord:
    """Return a Job without its pods.

    Raises:
        UnreadableError: It is not a Job of ours.
    """
    job = validated(_Job, raw)
    metadata, labels = job.metadata, job.metadata.labels
    owner = next((owner for owner in metadata.owner_references if owner.api_version.startswith(f"{GROUP}/")), None)
    failed = true_condition(job.status.conditions, "Failed")
    complete = true_condition(job.status.conditions, "Complete")
    attempt = labels.get(LABEL_ATTEMPT, "")
    view = JobView(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        kind=labels.get(LABEL_JOB_KIND, ""),
        request_digest_prefix=labels.get(LABEL_REQUEST, ""),
        gates_digest_prefix=labels.get(LABEL_GATES, ""),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        owner_uid=owner.uid if owner else None,
        created_at=metadata.creation_time,
        started_at=job.status.start_time,
        suspended=job.spec.suspend or true_condition(job.status.conditions, "Suspended") is not None,
        deleting=metadata.deletion_timestamp is not None,
        complete=complete is not None,
        failed=failed is not None,
        failure_reason=failed.reason if failed else None,
        finished_at=_first(
            job.status.completion_time,
            failed.last_transition_time if failed else None,
            complete.last_transition_time if complete else None,
        ),
        has_ttl=job.spec.ttl_seconds_after_finished is not None,
    )
    return JobRecord(view=view, owner_kind=owner.kind if owner else "", owner_name=owner.name if owner else "")


class _Named(Model):
    name: str


class _Running(Model):
    started_at: AwareDatetime | None = None


class _Terminated(Model):
    exit_code: int
    reason: str | None = None
    message: str | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None


class _Waiting(Model):
    reason: str | None = None
    message: str | None = None


class _State(Model):
    running: _Running | None = None
    terminated: _Terminated | None = None
    waiting: _Waiting | None = None


class _ContainerStatus(Model):
    name: str
    state: _State = Field(default_factory=_State)
    last_state: _State = Field(default_factory=_State)


class _PodSpec(Model):
    init_containers: list[_Named] = Field(default_factory=list)
    containers: list[_Named] = Field(default_factory=list)
    node_name: str | None = None


class _PodStatus(Model):
    phase: str = "Unknown"
    conditions: list[KubeCondition] = Field(default_factory=list)
    init_container_statuses: list[_ContainerStatus] = Field(default_factory=list)
    container_statuses: list[_ContainerStatus] = Field(default_factory=list)


class _Pod(Model):
    metadata: _Meta
    spec: _PodSpec
    status: _PodStatus = Field(default_factory=_PodStatus)


@dataclass(frozen=True, kw_only=True, slots=True)
class PodRecord:
    """A pod, its Job, and whether it is ready and which serving set it was started for."""

    view: PodView
    owner_uid: str | None = None
    ready: bool = False
    serving_set_digest: str | None = None


def parse_pod(raw: JsonObject) -> PodRecord:
    """Return a pod, of a Job of ours or of a serving workload.

    Raises:
        UnreadableError: It is not a pod.
    """
    pod = validated(_Pod, raw)
    metadata, status = pod.metadata, pod.status
    waits = next((condition for condition in status.conditions if condition.type == "PodScheduled"), None)
    statuses = {status.name: status for status in (*status.init_container_statuses, *status.container_statuses)}
    scheduled = pod.spec.node_name is not None
    view = PodView(
        name=metadata.name,
        uid=metadata.uid,
        phase=status.phase,
        created_at=metadata.creation_time,
        scheduled=scheduled,
        disrupted=true_condition(status.conditions, "DisruptionTarget") is not None,
        deleting=metadata.deletion_timestamp is not None,
        message=_short(waits.message) if waits and not scheduled else None,
        containers=tuple(
            _container(container.name, statuses.get(container.name))
            for container in (*pod.spec.init_containers, *pod.spec.containers)
        ),
    )
    return PodRecord(
        view=view,
        owner_uid=next((owner.uid for owner in metadata.owner_references if owner.controller), None),
        ready=true_condition(status.conditions, "Ready") is not None,
        serving_set_digest=metadata.annotations.get(ANNOTATION_SERVING_SET_DIGEST),
    )


def _container(name: str, status: _ContainerStatus | None) -> ContainerView:
    if status is None:
        return ContainerView(name=name)
    state = status.state
    if ended := state.terminated:
        notification = parse_notification(ended.message)
        return ContainerView(
            name=name,
            started_at=ended.started_at,
            finished_at=ended.finished_at,
            exit_code=ended.exit_code,
            reason=ended.reason,
            message=None if notification else _short(ended.message),
            notification=notification,
        )
    if waiting := state.waiting:
        return ContainerView(name=name, reason=waiting.reason, message=_short(_why_waiting(waiting, status.last_state)))
    return ContainerView(name=name, started_at=state.running.started_at if state.running else None)


def _why_waiting(waiting: _Waiting, last: _State) -> str | None:
    ended = last.terminated
    if ended is None:
        return waiting.message
    return f"exit code {ended.exit_code}" + (f": {ended.message}" if ended.message else "")


def parse_notification(message: str | None) -> Notification | None:
    """Return the notification in a termination message, or None when it is something else."""
    try:
        return compact(Notification.model_validate_json(message)) if message else None
    except ValidationError:
        return None


def _first(*times: datetime | None) -> datetime | None:
    return next((time for time in times if time is not None), None)


def _short(text: str | None) -> str | None:
    return text[:MESSAGE_LIMIT] if text else None

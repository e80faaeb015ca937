"""How the Job of an attempt stands: still on its way, lost sight of, or ended with a result."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from relora_contract.api.binding import StepStatus
from relora_contract.report import StepOutcome
from relora_operator.core.observed import JobView, PodView
from relora_operator.core.reasons import Reason, parse_reason
from relora_operator.core.steps import done, unrecorded

IMAGE_PROBLEMS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
FINAL = frozenset(
    {
        Reason.PREFLIGHT_FAILED,
        Reason.INVALID_DATA,
        Reason.NON_FINITE_LOSS,
        Reason.INTEGRITY_FAILED,
        Reason.INCOMPATIBLE,
        Reason.OUT_OF_MEMORY,
    }
)
"""Another attempt at the same request would end the same way."""


class Standing(Enum):
    """Where the Job of an attempt is."""

    ON_ITS_WAY = auto()
    LOST = auto()
    """It ended, and a step that may have ended is not recorded."""
    SUCCEEDED = auto()
    FAILED = auto()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The standing of a Job with its explanation."""

    standing: Standing
    reason: Reason
    message: str
    retriable: bool = False
    look_again_at: datetime | None = None


def judge(
    job: JobView,
    report: JobView | None,
    steps: Sequence[StepStatus],
    *,
    start_deadline_seconds: int,
    now: datetime,
) -> Judgement:
    """Judge a Job by its conditions, its pods and the record of its steps; `report` is its report Job."""
    if job.live:
        return _live(job, steps, start_deadline_seconds, now)
    if unrecorded(steps, job):
        if report is None or report.live:
            return Judgement(
                standing=Standing.LOST,
                reason=Reason.RECOVERING_REPORT,
                message=f"reading the stored reports of Job {job.name}",
            )
        if job.complete:
            return _failed(Reason.ADAPTATION_FAILED, f"Job {job.name} ended without a stored report", retriable=True)
    if job.complete:
        return Judgement(
            standing=Standing.SUCCEEDED, reason=Reason.GATE_PASSED, message=f"every step of Job {job.name} ended"
        )
    return _why_it_failed(job, steps)


def _failed(reason: Reason, message: str, *, retriable: bool) -> Judgement:
    return Judgement(standing=Standing.FAILED, reason=reason, message=message, retriable=retriable)


def _why_it_failed(job: JobView, steps: Sequence[StepStatus]) -> Judgement:
    if job.failure_reason == Reason.DEADLINE_EXCEEDED:
        return _failed(Reason.DEADLINE_EXCEEDED, f"Job {job.name} ran into its deadline", retriable=True)
    for step in steps:
        if step.outcome is StepOutcome.FAILED:
            reason = parse_reason(step.reason) or Reason.ADAPTATION_FAILED
            return _failed(reason, f"step {step.name}: {step.message}", retriable=reason not in FINAL)
    why = job.failure_reason or "no reason given"
    return _failed(Reason.ADAPTATION_FAILED, f"Job {job.name} failed: {why}", retriable=True)


def _live(job: JobView, steps: Sequence[StepStatus], start_deadline_seconds: int, now: datetime) -> Judgement:
    if job.suspended:
        return _on_its_way(Reason.QUEUED, held_by_a_queue(job.name))
    pod = max(job.pods, key=lambda pod: (pod.created_at, pod.name), default=None)
    if pod is not None and (pod.phase != "Pending" or any(container.started_at for container in pod.containers)):
        at = next((step.name for step in steps if not done(step)), steps[-1].name)
        return _on_its_way(Reason.RUNNING, f"Job {job.name} is at step {at}")
    since = pod.created_at if pod is not None else _without_a_pod_since(job)
    deadline = since + timedelta(seconds=start_deadline_seconds)
    reason, message = _why_it_waits(job, pod)
    if now < deadline:
        return Judgement(standing=Standing.ON_ITS_WAY, reason=Reason.STARTING, message=message, look_again_at=deadline)
    return _failed(reason, message, retriable=True)


def _without_a_pod_since(job: JobView) -> datetime:
    """Return since when the Job waits for a pod: for its first one, or in place of one that was evicted."""
    start = job.started_at or job.created_at
    return max(start, job.pod_lost_at) if job.pod_lost_at is not None else start


def held_by_a_queue(job: str) -> str:
    """Return what is told of a suspended Job."""
    return f"a queue holds Job {job}"


def _on_its_way(reason: Reason, message: str) -> Judgement:
    return Judgement(standing=Standing.ON_ITS_WAY, reason=reason, message=message)


def _why_it_waits(job: JobView, pod: PodView | None) -> tuple[Reason, str]:
    if pod is None:
        return Reason.START_DEADLINE_EXCEEDED, f"Job {job.name} has no pod yet"
    for container in pod.containers:
        if container.reason in IMAGE_PROBLEMS:
            return Reason.IMAGE_PULL_FAILED, f"pod {pod.name}: {container.reason}: {container.message or 'no message'}"
    if not pod.scheduled:
        return Reason.UNSCHEDULABLE, f"pod {pod.name} is not scheduled: {pod.message or 'no message'}"
    return Reason.START_DEADLINE_EXCEEDED, f"pod {pod.name} has not started a step yet"

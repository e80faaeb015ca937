"""From what pods show to what is recorded of each step. What was recorded as done is never lost again."""

from collections.abc import Iterable, Sequence

from relora_contract.api.binding import StepState, StepStatus
from relora_contract.exitcodes import ExitCode
from relora_contract.report import Notification, StepOutcome
from relora_operator.core.observed import ContainerView, JobView, PodView
from relora_operator.core.reasons import Reason
from relora_operator.core.times import moment, timestamp

DONE = (StepOutcome.SUCCEEDED, StepOutcome.SKIPPED)
MESSAGE_LIMIT = 512
_REASON_BY_EXIT_CODE: dict[int, Reason] = {
    ExitCode.CONFIGURATION: Reason.PREFLIGHT_FAILED,
    ExitCode.DATA: Reason.INVALID_DATA,
    ExitCode.NON_FINITE: Reason.NON_FINITE_LOSS,
    ExitCode.INTEGRITY: Reason.INTEGRITY_FAILED,
    ExitCode.INCOMPATIBLE: Reason.INCOMPATIBLE,
}


def done(step: StepStatus) -> bool:
    """Tell whether the step's report is known to be stored."""
    return step.outcome in DONE


def observe(
    names: Sequence[str], recorded: Iterable[StepStatus], pods: Iterable[PodView], request_digest: str
) -> tuple[StepStatus, ...]:
    """Bring the record of every step up to date with what the pods of its request show, the newest pod last."""
    known = {step.name: step for step in recorded}
    oldest_first = sorted(pods, key=lambda pod: (pod.created_at, pod.name))
    steps = []
    for name in names:
        step = known.get(name, StepStatus(name=name, state=StepState.PENDING))
        for pod in oldest_first:
            for container in pod.containers:
                if container.name == name and not done(step):
                    step = _seen(step, container, pod, request_digest)
        steps.append(step)
    return tuple(steps)


def _seen(step: StepStatus, container: ContainerView, pod: PodView, request_digest: str) -> StepStatus:
    """Return what one container adds to the record of its step; a container that says nothing adds nothing."""
    started = timestamp(container.started_at) if container.started_at else step.start_time
    if container.exit_code is None:
        if container.started_at is None:
            return step
        return StepStatus(name=step.name, state=StepState.RUNNING, start_time=started)
    ended = timestamp(container.finished_at) if container.finished_at else None
    notification = _notification(container, request_digest)
    if notification is not None and notification.outcome is StepOutcome.MISSING:
        return step
    if notification is not None and notification.outcome in DONE:
        start_time = step.start_time or started
        if _is_told_again(notification, container):
            start_time, ended = notification.start_time, notification.end_time
        return StepStatus(
            name=step.name,
            state=StepState.FINISHED,
            outcome=notification.outcome,
            verdict=notification.verdict,
            start_time=start_time,
            end_time=ended,
            adapter_digest=notification.artifact_digest,
            alpha=notification.alpha,
            beta=notification.beta,
            quality=notification.quality,
            reason=notification.reason,
            message=notification.message,
        )
    if container.exit_code in {ExitCode.DONE, ExitCode.STOPPED} or pod.disrupted:
        # It may have ended, or it was evicted or stopped: the record waits for the report or for the next pod.
        return StepStatus(name=step.name, state=StepState.RUNNING, start_time=started)
    reason, message = _failure(container, notification)
    return StepStatus(
        name=step.name,
        state=StepState.FINISHED,
        outcome=StepOutcome.FAILED,
        start_time=started,
        end_time=ended,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
    )


def _notification(container: ContainerView, request_digest: str) -> Notification | None:
    notification = container.notification
    if notification is None or notification.step != container.name or notification.request_digest != request_digest:
        return None
    return notification


def _is_told_again(notification: Notification, container: ContainerView) -> bool:
    """Tell whether the container has found the step's report in the store, of an earlier time."""
    ended = notification.end_time
    return ended is not None and container.started_at is not None and moment(ended) < container.started_at


def _failure(container: ContainerView, notification: Notification | None) -> tuple[Reason, str]:
    if container.reason == "OOMKilled":
        return Reason.OUT_OF_MEMORY, f"step {container.name} was killed for its memory"
    reason = _REASON_BY_EXIT_CODE.get(container.exit_code or 0, Reason.ADAPTATION_FAILED)
    told = notification.message if notification is not None else container.message
    return reason, told or f"step {container.name} ended with exit code {container.exit_code}"


def unrecorded(steps: Iterable[StepStatus], job: JobView) -> bool:
    """Tell whether a step of a finished Job may have ended without its outcome being recorded."""
    if job.complete:
        return not all(done(step) for step in steps)
    failed_seen = any(step.outcome is StepOutcome.FAILED for step in steps)
    if not job.pods:
        return not failed_seen
    silent = {
        container.name for pod in job.pods for container in pod.containers if container.exit_code == ExitCode.DONE
    }
    return any(step.name in silent and not done(step) for step in steps)


def active_seconds(pods: Iterable[PodView]) -> int:
    """Return the time, in whole seconds, in which containers of the pods ran."""
    total = 0.0
    for pod in pods:
        starts = [container.started_at for container in pod.containers if container.started_at]
        ends = [container.finished_at for container in pod.containers if container.finished_at]
        if starts and ends:
            total += max(0.0, (max(ends) - min(starts)).total_seconds())
    return int(total)

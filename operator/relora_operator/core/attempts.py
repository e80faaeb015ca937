"""Attempts at one request: which Job is the current one, what its end means, and when the next may start.

Everything follows from what the status records, so that a restart of the operator changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from relora_contract.api.attempts import Attempts
from relora_contract.api.binding import StepStatus
from relora_contract.api.meta import LocalRef, ObjectMeta
from relora_contract.wellknown import ANNOTATION_RETRY
from relora_operator.core.judgement import Judgement, Standing, judge
from relora_operator.core.observed import JobView
from relora_operator.core.steps import active_seconds, observe
from relora_operator.core.times import moment, timestamp
from relora_operator.core.work import label_of

FIRST_BACKOFF_SECONDS = 600
LONGEST_BACKOFF_SECONDS = 6 * 3600
MESSAGE_LIMIT = 1024

Record = TypeVar("Record", bound=Attempts)


def retry_request(metadata: ObjectMeta) -> str | None:
    """Return the value of the annotation by which people ask for another attempt."""
    value = metadata.annotations.get(ANNOTATION_RETRY)
    return value[:253] if value else None


def active(record: Attempts) -> bool:
    """Tell whether the last attempt has a Job and has not ended."""
    return record.job_ref is not None and record.end_time is None


def ready_at(record: Attempts) -> datetime | None:
    """Return when the next attempt may start; None when it may at once.

    The back-off after n failures is 10 min · 2ⁿ⁻¹, at most 6 h, from the end of the last attempt.
    """
    if record.end_time is None or record.failures == 0:
        return None
    seconds = min(FIRST_BACKOFF_SECONDS * 2 ** (record.failures - 1), LONGEST_BACKOFF_SECONDS)
    return moment(record.end_time) + timedelta(seconds=seconds)


def next_attempt(record: Attempts) -> int:
    """Return the number of the attempt that is to run: the last one, or the one after it when that has ended."""
    return record.attempt + 1 if record.end_time is not None else record.attempt


def started(record: Record, job_name: str, now: datetime) -> Record:
    """Record that the Job of the next attempt is being created; a Job that is created again is the same attempt."""
    if active(record):
        return record
    return record.model_copy(
        update={
            "attempt": next_attempt(record),
            "job_ref": LocalRef(name=job_name),
            "start_time": timestamp(now),
            "end_time": None,
        }
    )


def retried(record: Record, requested: str | None) -> Record:
    """Act on a changed retry annotation: an ended request starts again, with all its attempts."""
    if requested is None or requested == record.retry_requested_at:
        return record
    update: dict[str, object] = {"retry_requested_at": requested}
    if record.end_time is not None:
        update |= {
            "attempt": record.attempt + 1,
            "job_ref": None,
            "start_time": None,
            "end_time": None,
            "failures": 0,
            "reason": None,
            "message": None,
        }
    return record.model_copy(update=update)


def ended(record: Record, judgement: Judgement, max_attempts: int, at: datetime) -> Record:
    """Record the end of an attempt. The reason is set when no further attempt follows."""
    if judgement.standing is Standing.SUCCEEDED:
        return record.model_copy(update={"end_time": timestamp(at), "message": None})
    failures = record.failures + 1
    final = not judgement.retriable or failures >= max_attempts
    return record.model_copy(
        update={
            "end_time": timestamp(at),
            "failures": failures,
            "reason": judgement.reason.value if final else None,
            "message": judgement.message[:MESSAGE_LIMIT],
        }
    )


@dataclass(frozen=True, kw_only=True)
class JobsOfRequest:
    """The Jobs of one request among all Jobs of its owner."""

    current: JobView | None
    """The Job of the last attempt."""
    report: JobView | None
    """Its report Job."""
    others: tuple[JobView, ...]
    """Jobs of other requests and of earlier attempts."""


def jobs_of(record: Attempts, jobs: Iterable[JobView], *, kind: str, gates_digest: str | None = None) -> JobsOfRequest:
    """Sort the Jobs of an owner by what they are to the record's last attempt."""
    request, gates = label_of(record.request_digest), label_of(gates_digest) if gates_digest else ""
    current: JobView | None = None
    report: JobView | None = None
    others: list[JobView] = []
    for job in jobs:
        mine = (job.request_digest_prefix, job.gates_digest_prefix, job.attempt) == (request, gates, record.attempt)
        if mine and job.kind == kind:
            current = job
        elif mine and job.kind == "report":
            report = job
        else:
            others.append(job)
    return JobsOfRequest(current=current, report=report, others=tuple(others))


def look(
    record: Attempts, jobs: JobsOfRequest, names: Sequence[str], recorded: Iterable[StepStatus]
) -> tuple[StepStatus, ...]:
    """Return the record of the steps with what the pods of the attempt and of its report Job show."""
    pods = [pod for job in (jobs.current, jobs.report) if job is not None for pod in job.pods]
    return observe(names, recorded, pods, record.request_digest)


def assess(
    jobs: JobsOfRequest, steps: Sequence[StepStatus], *, start_deadline_seconds: int, now: datetime
) -> Judgement | None:
    """Judge the Job of the running attempt; None when there is none."""
    if jobs.current is None or jobs.current.deleting:
        return None
    return judge(jobs.current, jobs.report, steps, start_deadline_seconds=start_deadline_seconds, now=now)


def add_active_seconds(record: Record, job: JobView) -> Record:
    """Add the time of a Job that ended."""
    return record.model_copy(update={"active_seconds": record.active_seconds + active_seconds(job.pods)})

"""The next Job of a binding: an attempt, a report, or none, and then what is waited for."""

from dataclasses import dataclass, replace
from datetime import datetime

from relora_contract.api.binding import BindingConditionType, Candidate
from relora_contract.api.profile import TrainerProfile
from relora_operator.core.attempts import active, ended, next_attempt, started
from relora_operator.core.candidate import to_compute, unfinished_reset
from relora_operator.core.judgement import Judgement, Standing, held_by_a_queue
from relora_operator.core.obstacles import Obstacle, delta_digest_of, obstacle
from relora_operator.core.progress import Progress
from relora_operator.core.reasons import Reason
from relora_operator.core.refusals import due, recorded
from relora_operator.core.serving import Seat
from relora_operator.core.snapshot import BindingSnapshot
from relora_operator.core.work import ReadaptationWork
from relora_operator.manifests.jobs import JobManifest, RequestTooLargeError, readaptation_job
from relora_operator.manifests.requests import readaptation_request


@dataclass(frozen=True, kw_only=True)
class Next:
    """What follows for the candidate."""

    candidate: Candidate | None = None
    create: JobManifest | None = None
    waiting: Obstacle | None = None


def next_job(
    snapshot: BindingSnapshot,
    progress: Progress,
    work: ReadaptationWork | None,
    *,
    profile: TrainerProfile | None,
    place: Seat | None,
    now: datetime,
) -> Next:
    """Return what follows. `work` is what the binding asks for now; it may differ from what the candidate is for.

    A Job that the API server refused is tried again at the pace of people, and until it exists that is what is told.
    In place of one that would judge stored outcomes an attempt follows, which a policy may demand to see queued.
    """
    following = _unrefused(snapshot, progress, work, profile=profile, place=place, now=now)
    create = following.create
    told = _refusal(snapshot, create.name) if create is not None else None
    if create is None or told is None:
        return following
    if following.candidate is not None and following.candidate.rejudging:
        return Next(candidate=to_compute(following.candidate), waiting=told)
    tried = create if due(snapshot.refusals.get(create.name), now) else None
    return replace(following, create=tried, waiting=told)


def _unrefused(
    snapshot: BindingSnapshot,
    progress: Progress,
    work: ReadaptationWork | None,
    *,
    profile: TrainerProfile | None,
    place: Seat | None,
    now: datetime,
) -> Next:
    candidate, judgement = progress.candidate, progress.judgement
    if candidate is None:
        return Next()
    own = _own_work(candidate, work)
    if candidate.adapter is not None and not _worth_watching(judgement, own):
        return Next(candidate=_closed(candidate, now))
    if judgement is not None and judgement.standing is Standing.ON_ITS_WAY:
        return Next(candidate=candidate, waiting=_waiting(judgement))
    if judgement is not None and judgement.standing is Standing.LOST:
        create = _job(own, profile, candidate.attempt, place, report=True) if progress.report is None else None
        return Next(candidate=candidate, create=create, waiting=_waiting(judgement))
    if candidate.adapter is not None or candidate.reason is not None or own is None or profile is None:
        return Next(candidate=candidate)
    return _attempt(snapshot, candidate, own, profile=profile, place=place, now=now)


def _attempt(
    snapshot: BindingSnapshot,
    candidate: Candidate,
    work: ReadaptationWork,
    *,
    profile: TrainerProfile,
    place: Seat | None,
    now: datetime,
) -> Next:
    waiting = obstacle(snapshot, candidate, work, place, now)
    if waiting is not None and waiting.reason is not Reason.QUEUED:
        return Next(candidate=candidate, waiting=waiting)
    try:
        create = _job(work, profile, next_attempt(candidate), place, report=candidate.rejudging)
    except RequestTooLargeError as error:
        return Next(candidate=candidate, waiting=Obstacle(Reason.REQUEST_TOO_LARGE, str(error)))
    if waiting is not None or create is None:
        told = _refusal(snapshot, create.name) if create is not None else None
        return Next(candidate=candidate, waiting=told or waiting)
    begins = Obstacle(Reason.STARTING, f"Job {create.name} is created")
    if profile.spec.local_queue_name is not None and not candidate.rejudging:
        # It counts as queued at once, or the queue would get too many.
        begins = Obstacle(Reason.QUEUED, held_by_a_queue(create.name))
    return Next(candidate=started(unfinished_reset(candidate), create.name, now), create=create, waiting=begins)


def _refusal(snapshot: BindingSnapshot, job: str) -> Obstacle | None:
    """Return what is told of a Job that the API server refused the last time."""
    refusal = snapshot.refusals.get(job)
    if refusal is not None:
        return Obstacle(refusal.reason, refusal.message, refusal.again_at)
    before = snapshot.binding.status
    told = recorded(before.conditions, BindingConditionType.UP_TO_DATE)
    same = (
        before.candidate is not None and before.candidate.job_ref is not None and before.candidate.job_ref.name == job
    )
    return Obstacle(told.reason, told.message) if told is not None and same else None


def _worth_watching(judgement: Judgement | None, own: ReadaptationWork | None) -> bool:
    """Tell whether the Job of a pair that passed may still bring a better one."""
    if judgement is None:
        return False
    return judgement.standing is Standing.ON_ITS_WAY or (judgement.standing is Standing.LOST and own is not None)


def _own_work(candidate: Candidate, work: ReadaptationWork | None) -> ReadaptationWork | None:
    """Return the work that the candidate is for, with the image that its request digest covers."""
    if work is None:
        return None
    own = work if candidate.image == work.image else replace(work, image=candidate.image)
    return own if own.request_digest == candidate.request_digest else None


def _waiting(judgement: Judgement) -> Obstacle:
    return Obstacle(judgement.reason, judgement.message, judgement.look_again_at)


def _closed(candidate: Candidate, now: datetime) -> Candidate:
    if not active(candidate):
        return candidate
    passed = Judgement(standing=Standing.SUCCEEDED, reason=Reason.GATE_PASSED, message="")
    return ended(candidate.model_copy(update={"rejudging": False}), passed, 1, now)


def _job(
    work: ReadaptationWork | None,
    profile: TrainerProfile | None,
    attempt: int,
    place: Seat | None,
    *,
    report: bool,
) -> JobManifest | None:
    if work is None or profile is None:
        return None
    mounted = readaptation_request(
        work,
        profile,
        delta_manifest_digest=delta_digest_of(work) if work.needs_delta else None,
        engine=place.engine if place is not None else None,
        max_lora_rank=place.max_lora_rank if place is not None else None,
    )
    return readaptation_job(work, attempt, mounted, profile, report=report)

"""The deltas of a release: one for each earlier release from which bindings come."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from relora_contract.api.meta import LocalRef
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease, DeltaStatus
from relora_contract.artifacts import ArtifactRef
from relora_operator.core.actions import Action, CreateJob, Key
from relora_operator.core.attempts import (
    active,
    assess,
    ended,
    jobs_of,
    look,
    next_attempt,
    ready_at,
    retried,
    retry_request,
    started,
)
from relora_operator.core.cleanup import ends, expiries, settlement
from relora_operator.core.judgement import Judgement, Standing
from relora_operator.core.observed import JobView
from relora_operator.core.reasons import Reason
from relora_operator.core.refusals import JobRefusal, Refusals, due
from relora_operator.core.times import timestamp
from relora_operator.core.work import DeltaWork, image_digest, label_of
from relora_operator.manifests.jobs import JobManifest, delta_job
from relora_operator.manifests.requests import delta_request

MAX_ATTEMPTS = 3
MOST_DELTAS = 16


@dataclass(frozen=True, kw_only=True)
class Deltas:
    """The deltas as they are now, what is to be done for them, and when to look again."""

    records: tuple[DeltaStatus, ...]
    actions: tuple[Action, ...] = ()
    look_again_at: datetime | None = None
    refusal: JobRefusal | None = None
    """Why one of the Jobs does not exist."""


@dataclass(frozen=True, kw_only=True)
class _Followed:
    record: DeltaStatus
    actions: tuple[Action, ...] = ()
    look_again_at: datetime | None = None
    refusal: JobRefusal | None = None


def abandoned(release: BaseModelRelease, jobs: tuple[JobView, ...]) -> Deltas:
    """End the Jobs of a release that was withdrawn, and keep the deltas that are stored."""
    records = tuple(record for record in release.status.deltas if record.digest is not None)
    return Deltas(records=records, actions=(*ends(jobs), *expiries(jobs)))


def advance(
    release: BaseModelRelease,
    demand: Mapping[str, ArtifactRef],
    jobs: tuple[JobView, ...],
    profile: TrainerProfile,
    *,
    namespace: str,
    may_start: bool,
    now: datetime,
    refusals: Refusals,
) -> Deltas:
    """Follow the Jobs of the deltas, and start those that are demanded if any may start now."""
    wanted = {
        source: DeltaWork(source_release=source, source_base=base, target=release, image=image_digest(profile))
        for source, base in demand.items()
    }
    followed = [
        _follow(
            record,
            wanted.get(record.source_release_name),
            jobs,
            profile,
            namespace=namespace,
            may_start=may_start,
            now=now,
            refusals=refusals,
        )
        for record in _records(release, wanted, jobs)
    ]
    records = tuple(one.record for one in followed)
    times = [one.look_again_at for one in followed if one.look_again_at is not None]
    return Deltas(
        records=records,
        actions=(*_cleanup(release, records, jobs), *(action for one in followed for action in one.actions)),
        look_again_at=min(times, default=None),
        refusal=next((one.refusal for one in followed if one.refusal is not None), None),
    )


def _records(
    release: BaseModelRelease, wanted: Mapping[str, DeltaWork], jobs: tuple[JobView, ...]
) -> list[DeltaStatus]:
    """Return the records to follow: those that are demanded, then the earlier ones as far as there is room."""
    existing = {record.source_release_name: record for record in release.status.deltas}
    kept = {
        source: existing[source]
        if source in existing and existing[source].request_digest == work.request_digest
        else _opened(source, work, jobs, release)
        for source, work in sorted(wanted.items())
    }
    older = [record for source, record in existing.items() if source not in kept and record.reason is None]
    records = [*kept.values(), *older][:MOST_DELTAS]
    return sorted(records, key=lambda record: record.source_release_name)


def _opened(source: str, work: DeltaWork, jobs: tuple[JobView, ...], release: BaseModelRelease) -> DeltaStatus:
    request = label_of(work.request_digest)
    mine = [job for job in jobs if job.kind == "delta" and job.request_digest_prefix == request]
    adopted = max(mine, key=lambda job: job.attempt, default=None)
    return DeltaStatus(
        source_release_name=source,
        request_digest=work.request_digest,
        attempt=adopted.attempt if adopted else 1,
        job_ref=LocalRef(name=adopted.name) if adopted else None,
        start_time=timestamp(adopted.created_at) if adopted else None,
        retry_requested_at=retry_request(release.metadata),
    )


def _follow(
    record: DeltaStatus,
    work: DeltaWork | None,
    jobs: tuple[JobView, ...],
    profile: TrainerProfile,
    *,
    namespace: str,
    may_start: bool,
    now: datetime,
    refusals: Refusals,
) -> _Followed:
    if work is not None:
        record = retried(record, retry_request(work.target.metadata))
    mine = jobs_of(record, jobs, kind="delta")
    if active(record):
        steps = look(record, mine, ("delta",), ())
        deadline = profile.spec.effective_pre_running_deadline_seconds
        judgement = assess(mine, steps, start_deadline_seconds=deadline, now=now)
        if judgement is not None and mine.current is not None:
            record = record.model_copy(update={"digest": steps[0].adapter_digest})
            followed = _judged(record, judgement, mine.current, now)
            if judgement.standing is Standing.LOST and mine.report is None and work is not None:
                create = _job(work, record.attempt, profile, namespace, report=True)
                return _created(followed.record, create, work, refusals, now)
            return followed
    if not may_start or work is None or record.digest is not None or record.reason is not None:
        return _Followed(record=record)
    ready = ready_at(record)
    if ready is not None and now < ready:
        return _Followed(record=record, look_again_at=ready)
    request = label_of(record.request_digest)
    if any((job.live or job.deleting) and job.request_digest_prefix == request for job in jobs):
        return _Followed(record=record)
    create = _job(work, next_attempt(record), profile, namespace, report=False)
    return _created(started(record, create.name, now), create, work, refusals, now)


def _judged(record: DeltaStatus, judgement: Judgement, job: JobView, now: datetime) -> _Followed:
    if judgement.standing is Standing.SUCCEEDED and record.digest is None:
        judgement = Judgement(
            standing=Standing.FAILED,
            reason=Reason.DELTA_FAILED,
            message=f"Job {job.name} reported no delta",
            retriable=True,
        )
    if judgement.standing in {Standing.SUCCEEDED, Standing.FAILED}:
        record = ended(record, judgement, MAX_ATTEMPTS, job.finished_at or now)
        return _Followed(record=record, look_again_at=ready_at(record))
    return _Followed(record=record, look_again_at=judgement.look_again_at)


def _job(work: DeltaWork, attempt: int, profile: TrainerProfile, namespace: str, *, report: bool) -> JobManifest:
    return delta_job(work, attempt, delta_request(work, profile), profile, namespace=namespace, report=report)


def _created(record: DeltaStatus, job: JobManifest, work: DeltaWork, refusals: Refusals, now: datetime) -> _Followed:
    """Create the Job, or wait for the next try at one that the API server refused."""
    refusal = refusals.get(job.name)
    owner = Key("BaseModelRelease", "", work.target.metadata.name)
    create = CreateJob(owner=owner, namespace=job.namespace, name=job.name, manifest=job.manifest)
    return _Followed(
        record=record,
        actions=(create,) if due(refusal, now) else (),
        look_again_at=refusal.again_at if refusal is not None else None,
        refusal=refusal,
    )


def _cleanup(
    release: BaseModelRelease, records: tuple[DeltaStatus, ...], jobs: tuple[JobView, ...]
) -> Iterator[Action]:
    """Yield the ends of Jobs that no record needs, and times to live of those whose outcome is in the status."""
    unneeded = list(jobs)
    for record in records:
        mine = jobs_of(record, unneeded, kind="delta")
        unneeded = list(mine.others)
        yield from settlement(mine, record, stored=record in release.status.deltas)
    yield from ends(unneeded)
    yield from expiries(unneeded)

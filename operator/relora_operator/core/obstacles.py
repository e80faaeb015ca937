"""Why the next attempt at a re-adaptation does not start now."""

from dataclasses import dataclass
from datetime import datetime

from relora_contract.api.binding import Candidate
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.attempts import active, ready_at
from relora_operator.core.brakes import brake_of
from relora_operator.core.reasons import Reason
from relora_operator.core.serving import Seat
from relora_operator.core.snapshot import BindingSnapshot
from relora_operator.core.times import timestamp
from relora_operator.core.work import ReadaptationWork


@dataclass(frozen=True)
class Obstacle:
    """What is waited for."""

    reason: Reason
    message: str
    until: datetime | None = None


def delta_digest_of(work: ReadaptationWork) -> str | None:
    """Return the manifest digest of the delta that the work reads, once the release has it."""
    return next(
        (
            delta.digest
            for delta in work.target.status.deltas
            if delta.source_release_name == work.start.release and delta.request_digest == work.delta.request_digest
        ),
        None,
    )


def obstacle(
    snapshot: BindingSnapshot,
    candidate: Candidate,
    work: ReadaptationWork,
    place: Seat | None,
    now: datetime,
) -> Obstacle | None:
    """Return the first thing that keeps the next attempt from starting. A missing slot is the last."""
    obstacles = (
        _refusal(place),
        _suspension(snapshot, work.target),
        _braked(snapshot, work.target, place),
        None if candidate.rejudging else _delta(work),
        _backoff(candidate, now),
        _other_jobs(snapshot, candidate),
    )
    found = next((found for found in obstacles if found is not None), None)
    if found is None and not snapshot.granted:
        return Obstacle(Reason.QUEUED, f"waiting for a slot of release {work.target.metadata.name}")
    return found


def _refusal(place: Seat | None) -> Obstacle | None:
    if place is None or place.refusal is None:
        return None
    return Obstacle(place.refusal.reason, place.refusal.message)


def _suspension(snapshot: BindingSnapshot, release: BaseModelRelease) -> Obstacle | None:
    if snapshot.binding.spec.suspend:
        return Obstacle(Reason.SUSPENDED, "the binding is suspended (spec.suspend)")
    if release.spec.suspend:
        return Obstacle(Reason.SUSPENDED, f"release {release.metadata.name} is suspended (spec.suspend)")
    return None


def _braked(snapshot: BindingSnapshot, release: BaseModelRelease, place: Seat | None) -> Obstacle | None:
    held = brake_of(release, snapshot.binding, place)
    return Obstacle(held.reason, held.message) if held is not None else None


def _backoff(candidate: Candidate, now: datetime) -> Obstacle | None:
    ready = ready_at(candidate)
    if ready is None or now >= ready:
        return None
    message = f"{candidate.message}; attempt {candidate.attempt + 1} starts at {timestamp(ready)}"
    return Obstacle(Reason.RETRYING, message, ready)


def _other_jobs(snapshot: BindingSnapshot, candidate: Candidate) -> Obstacle | None:
    busy = sorted(job.name for job in snapshot.jobs if job.live or job.deleting)
    if not busy:
        return None
    reason = Reason.STARTING if active(candidate) else Reason.SUPERSEDING
    return Obstacle(reason, f"waiting for the end of Job {', '.join(busy)}")


def _delta(work: ReadaptationWork) -> Obstacle | None:
    if not work.needs_delta or delta_digest_of(work) is not None:
        return None
    release: BaseModelRelease = work.target
    source, name = work.start.release, release.metadata.name
    for delta in release.status.deltas:
        if delta.source_release_name == source and delta.request_digest == work.delta.request_digest and delta.reason:
            return Obstacle(Reason.DELTA_FAILED, f"release {name} has no delta from {source}: {delta.message}")
    return Obstacle(Reason.WAITING_FOR_DELTA, f"waiting for the delta from {source} to {name}")

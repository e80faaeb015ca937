"""What is to be done for one release."""

from datetime import datetime

from relora_contract.api.release import (
    BaseModelRelease,
    BaseModelReleaseStatus,
    BindingCounts,
    FailureSample,
    ReleaseConditionType,
)
from relora_operator.core.actions import Action, CreateJob, GrantSlots, Key, Plan, WriteStatus
from relora_operator.core.budget import Trial, started_at, tried
from relora_operator.core.conditions import Wanted, false, merged, transitions, true
from relora_operator.core.deltas import Deltas, abandoned, advance
from relora_operator.core.lineage import Chain, Refusal, chain
from relora_operator.core.participation import Stage
from relora_operator.core.reasons import Reason
from relora_operator.core.refusals import recorded
from relora_operator.core.slots import NO_JOBS, grants, pace_of
from relora_operator.core.snapshot import ReleaseSnapshot
from relora_operator.core.tally import Tally
from relora_operator.core.times import timestamp

FOLLOWED = (
    ReleaseConditionType.ACCEPTED,
    ReleaseConditionType.READY,
    ReleaseConditionType.COMPLETE,
    ReleaseConditionType.HALTED,
)
MOST_SAMPLES = 10


def decide_release(snapshot: ReleaseSnapshot, now: datetime) -> Plan:
    """Return what is to be done for the release. One that is being deleted takes its Jobs with it by ownership."""
    release = snapshot.release
    name = release.metadata.name
    if release.metadata.deletion_timestamp is not None:
        return Plan(actions=_granted(snapshot, frozenset()))
    order = chain(release.spec.model, snapshot.family)
    tally = snapshot.tally
    deltas = Deltas(records=tuple(release.status.deltas))
    slots: frozenset[Key] = frozenset()
    trial = Trial(canaries=release.status.canaries)
    if release.spec.withdrawn:
        deltas = abandoned(release, snapshot.delta_jobs)
    elif order.accepts(name):
        trial = tried(release, tally, snapshot.servers, started_at(release, now), now)
    if order.accepts(name) and not release.spec.withdrawn and snapshot.profile is not None:
        may_start = not release.spec.suspend and trial.halt is None
        deltas = advance(
            release,
            tally.demanded(),
            snapshot.delta_jobs,
            snapshot.profile,
            namespace=snapshot.operator_namespace,
            may_start=may_start,
            now=now,
            refusals=snapshot.refusals,
        )
        slots = grants(tally, snapshot.granted, pace_of(release, snapshot.profile) if may_start else NO_JOBS)
    status = _status(snapshot, order, deltas, trial, now=now)
    changed = status != release.status
    key = Key("BaseModelRelease", "", name)
    actions: list[Action] = []
    if changed:
        actions.append(WriteStatus(key=key, resource_version=release.metadata.resource_version, status=status))
    actions.extend(deltas.actions)
    actions.extend(_granted(snapshot, slots))
    if changed:
        actions.extend(transitions(key, release.status.conditions, status.conditions, FOLLOWED))
    times = [time for time in (deltas.look_again_at, trial.look_again_at) if time is not None]
    seconds = max(1.0, (min(times) - now).total_seconds()) if times else None
    return Plan(actions=tuple(actions), requeue_after_seconds=seconds)


def _granted(snapshot: ReleaseSnapshot, slots: frozenset[Key]) -> tuple[Action, ...]:
    if slots == snapshot.granted:
        return ()
    return (GrantSlots(release=snapshot.release.metadata.name, bindings=slots),)


def _status(
    snapshot: ReleaseSnapshot,
    order: Chain,
    deltas: Deltas,
    trial: Trial,
    *,
    now: datetime,
) -> BaseModelReleaseStatus:
    release = snapshot.release
    before = release.status
    refusal = order.refused.get(release.metadata.name)
    wanted = _conditions(snapshot, order, deltas, trial)
    complete = bool(snapshot.tally) and any(
        want.type == ReleaseConditionType.COMPLETE and want.status == "True" for want in wanted
    )
    return BaseModelReleaseStatus(
        observed_generation=release.metadata.generation,
        conditions=merged(before.conditions, wanted, release.metadata.generation, now),
        deltas=list(deltas.records),
        start_time=before.start_time or (timestamp(now) if refusal is None else None),
        completion_time=(before.completion_time or timestamp(now)) if complete else None,
        bindings=_counts(snapshot.tally) if refusal is None else None,
        canaries=trial.canaries,
        failure_samples=[
            FailureSample(namespace=key.namespace, name=key.name, reason=reason)
            for key, reason in snapshot.tally.failures(MOST_SAMPLES)
        ],
    )


def _counts(tally: Tally) -> BindingCounts:
    at = tally.stages
    return BindingCounts(
        eligible=len(tally),
        pending=at[Stage.PENDING],
        queued=at[Stage.QUEUED],
        running=at[Stage.RUNNING],
        passed=at[Stage.PASSED],
        promoted=at[Stage.PROMOTED],
        failed=at[Stage.FAILED],
        skipped=at[Stage.SKIPPED],
    )


def _conditions(
    snapshot: ReleaseSnapshot,
    order: Chain,
    deltas: Deltas,
    trial: Trial,
) -> list[Wanted]:
    release = snapshot.release
    refusal = order.refused.get(release.metadata.name)
    if refusal is not None:
        return [
            false(kind, refusal.reason, refusal.message)
            for kind in (ReleaseConditionType.ACCEPTED, ReleaseConditionType.READY, ReleaseConditionType.COMPLETE)
        ] + [true(ReleaseConditionType.STALLED, refusal.reason, refusal.message)]
    accepted = true(ReleaseConditionType.ACCEPTED, Reason.ACCEPTED, _place(release))
    if release.spec.withdrawn:
        return [accepted, *_withdrawal(snapshot)]
    complete = _complete(snapshot, order, trial)
    lack = trial.halt or _lack(snapshot, deltas)
    if lack is None:
        return [accepted, true(ReleaseConditionType.READY, Reason.ACCEPTED, _place(release)), complete]
    halted = [true(ReleaseConditionType.HALTED, lack.reason, lack.message)] if trial.halt is not None else []
    return [
        accepted,
        false(ReleaseConditionType.READY, lack.reason, lack.message),
        complete,
        *halted,
        true(ReleaseConditionType.STALLED, lack.reason, lack.message),
    ]


def _withdrawal(snapshot: ReleaseSnapshot) -> list[Wanted]:
    """Tell how far the bindings have come on their way back."""
    left = len(snapshot.tally.on_it)
    ready = true(ReleaseConditionType.READY, Reason.WITHDRAWN, "the release is withdrawn (spec.withdrawn)")
    if left:
        return [ready, false(ReleaseConditionType.COMPLETE, Reason.RETURNING, f"{left} bindings are still on it")]
    return [ready, true(ReleaseConditionType.COMPLETE, Reason.WITHDRAWN, "no binding is on it")]


def _place(release: BaseModelRelease) -> str:
    before = release.spec.supersedes
    return f"supersedes {before}" if before else f"the first release of the model {release.spec.model}"


def _lack(snapshot: ReleaseSnapshot, deltas: Deltas) -> Refusal | None:
    if snapshot.profile is None:
        name = snapshot.release.spec.profile_ref.name
        return Refusal(Reason.PROFILE_NOT_FOUND, f"TrainerProfile {name} (spec.profileRef) does not exist")
    for delta in deltas.records:
        if delta.reason is not None:
            cause = f"delta from {delta.source_release_name}: {delta.reason}: {delta.message}"
            return Refusal(Reason.DELTA_FAILED, cause)
    if deltas.refusal is not None:
        return Refusal(deltas.refusal.reason, deltas.refusal.message)
    if any(isinstance(action, CreateJob) for action in deltas.actions):
        return recorded(snapshot.release.status.conditions, ReleaseConditionType.READY)
    return None


def _complete(snapshot: ReleaseSnapshot, order: Chain, trial: Trial) -> Wanted:
    kind, release, tally = ReleaseConditionType.COMPLETE, snapshot.release, snapshot.tally
    if not tally:
        return _without_bindings(release, order)
    counts = _counts(tally)
    message = f"{counts.promoted} of {counts.eligible} bindings promoted"
    if tally.open:
        suspended = Refusal(Reason.SUSPENDED, "the release is suspended (spec.suspend)")
        held = trial.halt or (suspended if release.spec.suspend else None)
        if held is not None:
            return false(kind, held.reason, f"{message}; {held.message}")
        return false(kind, Reason.IN_PROGRESS, message)
    if counts.promoted == counts.eligible:
        return true(kind, Reason.ALL_PROMOTED, message)
    return true(kind, Reason.COMPLETED_WITH_FAILURES, message)


def _without_bindings(release: BaseModelRelease, order: Chain) -> Wanted:
    kind, newest = ReleaseConditionType.COMPLETE, order.releases[-1].metadata.name
    if newest != release.metadata.name:
        return true(kind, Reason.SUPERSEDED, f"every binding takes part in a newer release, up to {newest}")
    return true(kind, Reason.NO_BINDINGS, f"no binding of the model {release.spec.model} takes part")

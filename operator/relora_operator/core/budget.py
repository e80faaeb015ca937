"""When a release is halted: by too many failures, or by its canaries."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from relora_contract.api.release import (
    BaseModelRelease,
    Canary,
    CanaryStatus,
    FailureBudget,
    ReleaseConditionType,
)
from relora_contract.api.server import AdapterServer
from relora_operator.core.actions import Key
from relora_operator.core.conditions import find
from relora_operator.core.lineage import Refusal
from relora_operator.core.reasons import Reason, parse_reason
from relora_operator.core.tally import Tally, Unit
from relora_operator.core.times import moment, timestamp

RAISE = "raise spec.rollout.failureBudget.acceptedFailures to"
LASTING = frozenset({Reason.FAILURE_BUDGET_EXCEEDED, Reason.CANARY_FAILED, Reason.CANARY_DEADLINE_EXCEEDED})
"""Halts that last until the release is changed, whatever becomes of the bindings that caused them."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the failures and the canaries of a release say."""

    halt: Refusal | None = None
    canaries: CanaryStatus | None = None
    look_again_at: datetime | None = None


def tried(
    release: BaseModelRelease,
    tally: Tally,
    servers: Iterable[AdapterServer],
    started: datetime,
    now: datetime,
) -> Trial:
    """Judge a release by those who take part. `servers` are those of the model."""
    trial = _canaries(release, tally, servers, started, now)
    halt = trial.halt or _overspent(release, tally) or (_lasting(release) if tally else None)
    return Trial(halt=halt, canaries=trial.canaries, look_again_at=trial.look_again_at)


def _lasting(release: BaseModelRelease) -> Refusal | None:
    """Return the halt that the status tells of, if nobody changed the release since: people resume it."""
    status = release.status
    told = find(status.conditions, ReleaseConditionType.HALTED)
    reason = parse_reason(told.reason) if told is not None else None
    if told is None or reason not in LASTING or status.observed_generation != release.metadata.generation:
        return None
    return Refusal(reason, told.message)


def _overspent(release: BaseModelRelease, tally: Tally) -> Refusal | None:
    """Judge the failures that the release may have caused."""
    budget = release.spec.failure_budget
    failed, ended, most = tally.spent, tally.ended, budget.effective_max_failed
    allowed = allowed_failures(budget, ended)
    if allowed is None or failed <= allowed:
        return None
    message = f"{failed} of {ended} bindings that came to an end failed, more than {most}: {RAISE} {failed}"
    return Refusal(Reason.FAILURE_BUDGET_EXCEEDED, f"{message} to go on")


def allowed_failures(budget: FailureBudget, ended: int) -> int | None:
    """Return how many of `ended` bindings may have failed; None while a percentage of so few is not judged."""
    most, accepted = budget.effective_max_failed, budget.effective_accepted_failures
    if not most.endswith("%"):
        return accepted + int(most)
    return accepted + int(most[:-1]) * ended // 100 if ended >= budget.effective_minimum_sample else None


def _canaries(
    release: BaseModelRelease,
    tally: Tally,
    servers: Iterable[AdapterServer],
    started: datetime,
    now: datetime,
) -> Trial:
    canary, before = release.spec.canary, release.status.canaries
    if canary is None or not tally:
        return Trial()
    units = list(canaries_of(canary, tally, servers).values())
    promoted = [unit for unit in units if unit.promoted == unit.bindings]
    passed = before.passed_time if before is not None else None
    status = CanaryStatus(matched=len(units), promoted=len(promoted), passed_time=passed)
    accepted = release.spec.failure_budget.effective_accepted_failures
    failed = sum(unit.failed for unit in units)
    if failed > accepted:
        message = f"{failed} bindings failed among the canaries: {RAISE} {failed} to go on"
        return Trial(canaries=status, halt=Refusal(Reason.CANARY_FAILED, message))
    if passed is not None:
        return Trial(canaries=status)
    deadline = started + timedelta(seconds=canary.effective_deadline_seconds)
    on_their_way = any(unit.open for unit in units)
    return _before_the_others(canary, status, accepted=accepted, on_their_way=on_their_way, deadline=deadline, now=now)


def _before_the_others(
    canary: Canary, status: CanaryStatus, *, accepted: int, on_their_way: bool, deadline: datetime, now: datetime
) -> Trial:
    """Let the others go when enough canaries were promoted, and halt when that will not happen."""
    least = canary.effective_min_promoted
    if status.matched < least:
        message = f"{status.matched} canaries match spec.rollout.canary.selector, and {least} must be promoted"
        return Trial(canaries=status, halt=Refusal(Reason.CANARIES_MISSING, message))
    missing = least - status.promoted
    if missing > 0 and on_their_way and now < deadline:
        return Trial(canaries=status, look_again_at=deadline)
    if missing <= accepted:
        return Trial(canaries=status.model_copy(update={"passed_time": timestamp(now)}))
    reason = Reason.CANARY_DEADLINE_EXCEEDED if on_their_way else Reason.CANARY_FAILED
    message = f"{status.promoted} of {status.matched} canaries were promoted, and {least} must be"
    return Trial(canaries=status, halt=Refusal(reason, f"{message}: {RAISE} {missing} to go on without"))


def canaries_of(canary: Canary, tally: Tally, servers: Iterable[AdapterServer]) -> dict[Key, Unit]:
    """Return the canaries: the bindings of each server that is one, and bindings without a server for themselves."""
    there = (server.metadata for server in servers if server.metadata.deletion_timestamp is None)
    labels = {Key("AdapterServer", metadata.namespace, metadata.name): metadata.labels for metadata in there}
    chosen: dict[Key, Unit] = {}
    for key, unit in tally.units.items():
        found = unit.labels if unit.labels is not None else labels.get(key)
        if found is not None and canary.selector.matches(dict(found)):
            chosen[key] = unit
    return chosen


def started_at(release: BaseModelRelease, now: datetime) -> datetime:
    """Return when the release was accepted."""
    return moment(release.status.start_time) if release.status.start_time is not None else now

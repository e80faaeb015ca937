"""When a release is halted: by too many failures, or by its canaries."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from relora_contract.api.release import BaseModelRelease, Canary, CanaryStatus
from relora_contract.api.server import AdapterServer
from relora_operator.core.actions import Key
from relora_operator.core.lineage import Refusal
from relora_operator.core.reasons import Reason
from relora_operator.core.tally import Tally, Unit
from relora_operator.core.times import moment, timestamp

RAISE = "raise spec.rollout.failureBudget.acceptedFailures to"


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
    overspent = _overspent(release, tally)
    return Trial(halt=trial.halt or overspent, canaries=trial.canaries, look_again_at=trial.look_again_at)


def _overspent(release: BaseModelRelease, tally: Tally) -> Refusal | None:
    """Judge the failures that the release may have caused."""
    budget = release.spec.failure_budget
    failed, ended, most = tally.spent, tally.ended, budget.effective_max_failed
    counted = failed - budget.effective_accepted_failures
    if most.endswith("%"):
        sampled = ended >= budget.effective_minimum_sample
        exceeded = sampled and counted * 100 > int(most[:-1]) * ended
    else:
        exceeded = counted > int(most)
    if counted <= 0 or not exceeded:
        return None
    message = f"{failed} of {ended} bindings that came to an end failed, more than {most}: {RAISE} {failed}"
    return Refusal(Reason.FAILURE_BUDGET_EXCEEDED, f"{message} to go on")


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
    units = _units(canary, tally, servers)
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


def _units(canary: Canary, tally: Tally, servers: Iterable[AdapterServer]) -> list[Unit]:
    """Return the canaries: the bindings of each server that is one, and bindings without a server for themselves."""
    there = (server.metadata for server in servers if server.metadata.deletion_timestamp is None)
    labels = {Key("AdapterServer", metadata.namespace, metadata.name): metadata.labels for metadata in there}
    named = ((unit, unit.labels if unit.labels is not None else labels.get(key)) for key, unit in tally.units.items())
    return [unit for unit, found in named if found is not None and canary.selector.matches(dict(found))]


def started_at(release: BaseModelRelease, now: datetime) -> datetime:
    """Return when the release was accepted."""
    return moment(release.status.start_time) if release.status.start_time is not None else now

"""When a release is halted: by too many failures, or by its canaries."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relora_contract.api.release import BaseModelRelease, Canary, CanaryStatus
from relora_operator.core.actions import Key
from relora_operator.core.lineage import Refusal
from relora_operator.core.membership import server_key
from relora_operator.core.participation import Participant, Stage
from relora_operator.core.reasons import REGISTRY, Reason
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
    everyone: Sequence[Participant],
    labels: Mapping[Key, Mapping[str, str]],
    started: datetime,
    now: datetime,
) -> Trial:
    """Judge a release by those who take part. `labels` are those of the servers."""
    trial = _canaries(release, everyone, labels, started, now)
    overspent = _overspent(release, everyone)
    return Trial(halt=trial.halt or overspent, canaries=trial.canaries, look_again_at=trial.look_again_at)


def _failures(participants: Iterable[Participant]) -> int:
    return sum(one.failure is not None and REGISTRY[one.failure].spends_budget for one in participants)


def _overspent(release: BaseModelRelease, everyone: Iterable[Participant]) -> Refusal | None:
    """Judge the failures that the release may have caused."""
    budget = release.spec.failure_budget
    ended = [one for one in everyone if one.stage in {Stage.PASSED, Stage.PROMOTED, Stage.FAILED}]
    failed, most = _failures(ended), budget.effective_max_failed
    counted = failed - budget.effective_accepted_failures
    if most.endswith("%"):
        sampled = len(ended) >= budget.effective_minimum_sample
        exceeded = sampled and counted * 100 > int(most[:-1]) * len(ended)
    else:
        exceeded = counted > int(most)
    if counted <= 0 or not exceeded:
        return None
    message = f"{failed} of {len(ended)} bindings that came to an end failed, more than {most}: {RAISE} {failed}"
    return Refusal(Reason.FAILURE_BUDGET_EXCEEDED, f"{message} to go on")


def _canaries(
    release: BaseModelRelease,
    everyone: Sequence[Participant],
    labels: Mapping[Key, Mapping[str, str]],
    started: datetime,
    now: datetime,
) -> Trial:
    canary, before = release.spec.canary, release.status.canaries
    if canary is None or not everyone:
        return Trial()
    units = _units(canary, everyone, labels)
    promoted = [unit for unit in units if all(one.stage is Stage.PROMOTED for one in unit)]
    passed = before.passed_time if before is not None else None
    status = CanaryStatus(matched=len(units), promoted=len(promoted), passed_time=passed)
    accepted = release.spec.failure_budget.effective_accepted_failures
    failed = sum(_failures(unit) for unit in units)
    if failed > accepted:
        message = f"{failed} bindings failed among the canaries: {RAISE} {failed} to go on"
        return Trial(canaries=status, halt=Refusal(Reason.CANARY_FAILED, message))
    if passed is not None:
        return Trial(canaries=status)
    deadline = started + timedelta(seconds=canary.effective_deadline_seconds)
    on_their_way = any(not one.final for unit in units for one in unit)
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


def _units(
    canary: Canary, everyone: Iterable[Participant], labels: Mapping[Key, Mapping[str, str]]
) -> list[list[Participant]]:
    """Return the canaries: the bindings of each server that is one, and bindings without a server for themselves."""
    units: defaultdict[Key, list[Participant]] = defaultdict(list)
    matches: dict[Key, bool] = {}
    for one in everyone:
        server = server_key(one.binding)
        key = server or one.key
        if key not in matches:
            found = one.binding.metadata.labels if server is None else labels.get(server)
            matches[key] = found is not None and canary.selector.matches(dict(found))
        if matches[key]:
            units[key].append(one)
    return list(units.values())


def started_at(release: BaseModelRelease, now: datetime) -> datetime:
    """Return when the release was accepted."""
    return moment(release.status.start_time) if release.status.start_time is not None else now

"""Conditions: what is wanted, merged with what is there, and what is worth telling people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from relora_contract.api.meta import Condition, ConditionStatus
from relora_operator.core.actions import EmitEvent, Key
from relora_operator.core.reasons import REGISTRY, Blame, Reason, parse_reason
from relora_operator.core.times import timestamp

MESSAGE_LIMIT = 1024
WAITING_IN_LINE = (Reason.WAITING_FOR_DELTA, Reason.QUEUED, Reason.STARTING)
"""What every binding of a release passes through together: an Event of each would tell people nothing."""


@dataclass(frozen=True)
class Wanted:
    """A condition before it is compared with the one that is there."""

    type: str
    status: ConditionStatus
    reason: Reason
    message: str


def true(kind: str, reason: Reason, message: str) -> Wanted:
    """Return a condition that holds."""
    return Wanted(kind, ConditionStatus.TRUE, reason, message)


def false(kind: str, reason: Reason, message: str) -> Wanted:
    """Return a condition that does not hold."""
    return Wanted(kind, ConditionStatus.FALSE, reason, message)


def merged(existing: Sequence[Condition], wanted: Iterable[Wanted], generation: int, now: datetime) -> list[Condition]:
    """Return the wanted conditions; the time of transition changes with the status only."""
    before = {condition.type: condition for condition in existing}
    result = []
    for want in wanted:
        old = before.get(want.type)
        unchanged = old is not None and old.status is want.status
        result.append(
            Condition(
                type=want.type,
                status=want.status,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old is not None and unchanged else timestamp(now),
                reason=want.reason,
                message=want.message[:MESSAGE_LIMIT],
            )
        )
    return result


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of one type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def holds(conditions: Iterable[Condition], kind: str) -> bool:
    """Tell whether a condition is there and True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status is ConditionStatus.TRUE


def reason_of(conditions: Iterable[Condition], kind: str) -> Reason | None:
    """Return the documented reason of a condition."""
    condition = find(conditions, kind)
    return parse_reason(condition.reason) if condition is not None else None


def transitions(
    key: Key, before: Sequence[Condition], after: Sequence[Condition], kinds: Sequence[str]
) -> tuple[EmitEvent, ...]:
    """Return one event for each new reason among the conditions that people follow, but for waiting in line."""
    events: dict[str, EmitEvent] = {}
    for kind in kinds:
        old, new = find(before, kind), find(after, kind)
        if new is None or (old is not None and (old.status, old.reason) == (new.status, new.reason)):
            continue
        if new.reason in WAITING_IN_LINE:
            continue
        blamed = REGISTRY[Reason(new.reason)].blame is not Blame.NOBODY
        events[new.reason] = EmitEvent(
            key=key, type="Warning" if blamed else "Normal", reason=new.reason, message=new.message
        )
    return tuple(events.values())

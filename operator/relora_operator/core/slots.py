"""Which bindings may have an active Job: as many as the release allows, shared fairly among namespaces."""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from relora_contract.api.release import BaseModelRelease
from relora_operator.core.actions import Key
from relora_operator.core.participation import Participant


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many re-adaptation Jobs of a release may be active at once."""

    in_all: int
    in_a_namespace: int


NO_JOBS = Pace(in_all=0, in_a_namespace=0)


def pace_of(release: BaseModelRelease) -> Pace:
    """Return the pace that a release sets."""
    return Pace(in_all=release.spec.max_running_jobs, in_a_namespace=release.spec.max_running_jobs_per_namespace)


def grants(participants: Iterable[Participant], granted: frozenset[Key], pace: Pace) -> frozenset[Key]:
    """Return the bindings that hold a slot.

    Who has a Job keeps its slot, and who was given one and has not used it yet. Each free slot goes to the namespace
    that holds the fewest, and there to the binding of the highest priority, of equals to the oldest. Those whose Job
    the API server refuses get what the others leave.
    """
    everyone = list(participants)
    keys = {participant.key for participant in everyone if participant.holds_slot}
    waiting = sorted((participant for participant in everyone if participant.wants_slot), key=_turn)
    for refused in (False, True):
        _give([participant.key for participant in waiting if participant.refused is refused], keys, granted, pace)
    return frozenset(keys)


def _give(waiting: Iterable[Key], keys: set[Key], granted: frozenset[Key], pace: Pace) -> None:
    """Add those of the waiting, in their order, for whom there are slots."""
    load = Counter(key.namespace for key in keys)
    queues: defaultdict[str, deque[Key]] = defaultdict(deque)
    for key in waiting:
        if key not in granted:
            queues[key.namespace].append(key)
        elif len(keys) < pace.in_all and load[key.namespace] < pace.in_a_namespace:
            keys.add(key)
            load[key.namespace] += 1
    turns = [(load[namespace], namespace) for namespace in queues]
    heapq.heapify(turns)
    while turns and len(keys) < pace.in_all:
        held, namespace = heapq.heappop(turns)
        if held >= pace.in_a_namespace:
            break
        keys.add(queues[namespace].popleft())
        if queues[namespace]:
            heapq.heappush(turns, (held + 1, namespace))


def _turn(participant: Participant) -> tuple[int, str, Key]:
    """Sort key within a namespace."""
    binding = participant.binding
    return -(binding.spec.priority or 0), binding.metadata.creation_timestamp, participant.key

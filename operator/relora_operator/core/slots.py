"""Which bindings may have an active Job: as many as the release allows, shared fairly among namespaces."""

import heapq
from collections import Counter
from dataclasses import dataclass

from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease, Rollout
from relora_operator.core.actions import Key
from relora_operator.core.tally import Tally, Waiting


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many re-adaptation Jobs of a release may be active at once, and how many may wait in a queue."""

    in_all: int
    in_a_namespace: int
    in_queue: int = 100
    queued: bool = False
    """Every Job waits in a queue first."""


NO_JOBS = Pace(in_all=0, in_a_namespace=0)
UNLIMITED = 1_000_000


def pace_of(release: BaseModelRelease, profile: TrainerProfile | None = None) -> Pace:
    """Return the pace that a release sets; where a queue sets it, the release does only if it names a limit."""
    rollout = release.spec.rollout or Rollout()
    in_all, in_a_namespace = release.spec.max_running_jobs, release.spec.max_running_jobs_per_namespace
    queued = profile is not None and profile.spec.local_queue_name is not None
    if queued and rollout.max_running_jobs is None:
        in_all, in_a_namespace = UNLIMITED, rollout.max_running_jobs_per_namespace or UNLIMITED
    return Pace(in_all=in_all, in_a_namespace=in_a_namespace, in_queue=release.spec.max_queued_jobs, queued=queued)


def grants(tally: Tally, granted: frozenset[Key], pace: Pace) -> frozenset[Key]:
    """Return the bindings that hold a slot.

    Who has a Job keeps its slot, and who was given one and has not used it yet. Each free slot goes to the namespace
    that holds the fewest, and there to the binding of the highest priority, of equals to the oldest. Those whose Job
    the API server refuses get what the others leave. Only who gets a slot and which namespaces wait is looked at.
    Whose stored outcomes are judged again keeps a place in the queue, which the attempt takes that may follow.
    """
    room = _Room(pace)
    for key, suspended in tally.holders.items():
        room.hold(key, waits=suspended or (pace.queued and key in tally.rejudging))
    _give(tally.waiting, room, granted)
    _give(tally.refused, room, granted)
    return frozenset(room.keys)


class _Room:
    """The slots that are held, and whether there are more."""

    def __init__(self, pace: Pace) -> None:
        self.keys: set[Key] = set()
        self.held: Counter[str] = Counter()
        self._pace = pace
        self._active: Counter[str] = Counter()
        self._active_in_all = 0
        self._waiting = 0

    @property
    def is_open(self) -> bool:
        """Whether anyone may have a slot."""
        return self._active_in_all < self._pace.in_all and self._waiting < self._pace.in_queue

    def admits(self, namespace: str) -> bool:
        """Tell whether a binding of the namespace may have a slot."""
        return self.is_open and self._active[namespace] < self._pace.in_a_namespace

    def hold(self, key: Key, *, waits: bool) -> None:
        """Count a slot for a Job that is active, or waits in a queue."""
        self.keys.add(key)
        self.held[key.namespace] += 1
        if waits:
            self._waiting += 1
        else:
            self._active[key.namespace] += 1
            self._active_in_all += 1

    def give(self, key: Key) -> None:
        """Count a slot for a Job that is to be created."""
        self.hold(key, waits=self._pace.queued)


def _give(waiting: Waiting, room: _Room, granted: frozenset[Key]) -> None:
    """Give slots to those of the waiting, in their order, for whom there are any."""
    if not room.is_open:
        return
    for _, _, key in sorted(waiting.turns[key] for key in granted if key in waiting.turns):
        if room.admits(key.namespace):
            room.give(key)
    queues = {
        namespace: (key for _, _, key in turns if key not in granted)
        for namespace, turns in waiting.by_namespace.items()
    }
    turns = [(room.held[namespace], namespace) for namespace in queues]
    heapq.heapify(turns)
    while turns and room.is_open:
        held, namespace = heapq.heappop(turns)
        first = next(queues[namespace], None) if room.admits(namespace) else None
        if first is not None:
            room.give(first)
            heapq.heappush(turns, (held + 1, namespace))

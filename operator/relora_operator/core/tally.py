"""What a release needs to know of the bindings that take part in it, kept up to date one by one.

A change costs the same in a fleet of any size. What a tally tells depends on who takes part now alone, not on the
way there: one that was changed a thousand times equals one that is made at once.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from relora_contract.api.binding import AdapterBinding
from relora_contract.artifacts import ArtifactRef
from relora_operator.core.actions import Key
from relora_operator.core.membership import binding_key, server_key
from relora_operator.core.observed import NamespaceView
from relora_operator.core.participation import Participant, Participation, Stage
from relora_operator.core.reasons import REGISTRY, Reason


class _Comparable(Protocol):
    def __lt__(self, other: Self, /) -> bool: ...


Item = TypeVar("Item", bound=_Comparable)


class Ordered(Generic[Item]):
    """Different items in their order."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]

    def add(self, item: Item) -> None:
        """Add an item that is not there."""
        insort(self._items, item)

    def remove(self, item: Item) -> None:
        """Remove an item that is there."""
        del self._items[bisect_left(self._items, item)]


Turn = tuple[int, str, Key]
"""Sorts those of a namespace who wait for a slot: the highest priority first, of equals the oldest."""


class Waiting:
    """Who waits for a slot, by namespace."""

    def __init__(self) -> None:
        self.turns: dict[Key, Turn] = {}
        self.by_namespace: dict[str, Ordered[Turn]] = {}

    def add(self, turn: Turn) -> None:
        """Let someone wait."""
        self.turns[turn[2]] = turn
        self.by_namespace.setdefault(turn[2].namespace, Ordered()).add(turn)

    def remove(self, turn: Turn) -> None:
        """Let someone no longer wait."""
        del self.turns[turn[2]]
        queue = self.by_namespace[turn[2].namespace]
        queue.remove(turn)
        if not queue:
            del self.by_namespace[turn[2].namespace]


@dataclass(slots=True)
class Unit:
    """Bindings that are a canary together: those of one server, or one without a server."""

    labels: Mapping[str, str] | None
    """Those of the binding without a server; a server's are not known here."""
    bindings: int = 0
    promoted: int = 0
    failed: int = 0
    """Failures that the release may have caused."""
    open: int = 0
    """Bindings that do not stay where they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """What is counted of one participant, as it was when that was done."""

    key: Key
    stage: Stage
    final: bool
    failure: Reason | None
    spends: bool
    holds: bool
    suspended: bool
    rejudging: bool
    wants: bool
    refused: bool
    turn: Turn
    source: str | None
    """The release from which a delta is wanted."""
    base: ArtifactRef
    unit: Key
    labels: Mapping[str, str] | None


def _entry(participant: Participant) -> _Entry:
    binding, failure = participant.binding, participant.failure
    server = server_key(binding)
    return _Entry(
        key=participant.key,
        stage=participant.stage,
        final=participant.final,
        failure=failure,
        spends=failure is not None and REGISTRY[failure].spends_budget,
        holds=participant.holds_slot,
        suspended=participant.suspended,
        rejudging=participant.rejudging,
        wants=participant.wants_slot,
        refused=participant.refused,
        turn=(-(binding.spec.priority or 0), binding.metadata.creation_timestamp, participant.key),
        source=participant.start.release if participant.wants_delta else None,
        base=participant.start.base,
        unit=server or participant.key,
        labels=binding.metadata.labels if server is None else None,
    )


@dataclass(kw_only=True)
class Tally:
    """Counts of those who take part in one release."""

    release: str
    stages: Counter[Stage] = field(default_factory=Counter)
    open: int = 0
    """Who does not stay where it is unless someone acts."""
    spent: int = 0
    """Failures that spend the release's budget."""
    holders: dict[Key, bool] = field(default_factory=dict)
    """Whose Job holds a slot, and whether a queue holds that Job."""
    rejudging: set[Key] = field(default_factory=set)
    """Those of the holders whose Job judges stored outcomes again."""
    waiting: Waiting = field(default_factory=Waiting)
    """Who waits for a slot."""
    refused: Waiting = field(default_factory=Waiting)
    """Whose Job the API server refused."""
    units: dict[Key, Unit] = field(default_factory=dict)
    """What may be chosen as canaries, by the keys of servers and of bindings without one."""
    on_it: set[Key] = field(default_factory=set)
    """Every binding that has a pair of the release in use, whether it takes part or not."""
    _entries: dict[Key, _Entry] = field(default_factory=dict)
    _failures: Ordered[Key] = field(default_factory=Ordered)
    _sources: dict[str, Ordered[Key]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many bindings take part."""
        return len(self._entries)

    @property
    def ended(self) -> int:
        """How many passed, were promoted or failed."""
        return self.stages[Stage.PASSED] + self.stages[Stage.PROMOTED] + self.stages[Stage.FAILED]

    def failures(self, most: int) -> list[tuple[Key, Reason]]:
        """Return the first failures in order of namespace and name."""
        keys = [self._failures[index] for index in range(min(most, len(self._failures)))]
        found = [(key, self._entries[key].failure) for key in keys]
        return [(key, reason) for key, reason in found if reason is not None]

    def demanded(self) -> dict[str, ArtifactRef]:
        """Return the bases from which bindings come that still need a delta, by their releases' names."""
        return {source: self._entries[keys[-1]].base for source, keys in sorted(self._sources.items())}

    def put(self, key: Key, binding: AdapterBinding | None, participant: Participant | None) -> None:
        """Take in a binding as it is now, and as what it takes part; None when it is gone or does not."""
        current = binding.status.current if binding is not None else None
        if current is not None and current.release_name == self.release:
            self.on_it.add(key)
        else:
            self.on_it.discard(key)
        before = self._entries.pop(key, None)
        if before is not None:
            self._leave(before)
        if participant is not None:
            entry = self._entries[key] = _entry(participant)
            self._join(entry)

    def _join(self, entry: _Entry) -> None:
        key = entry.key
        self._count(entry, 1)
        if entry.holds:
            self.holders[key] = entry.suspended
            if entry.rejudging:
                self.rejudging.add(key)
        if entry.wants:
            (self.refused if entry.refused else self.waiting).add(entry.turn)
        if entry.failure is not None:
            self._failures.add(key)
        if entry.source is not None:
            self._sources.setdefault(entry.source, Ordered()).add(key)

    def _leave(self, entry: _Entry) -> None:
        key = entry.key
        self._count(entry, -1)
        self.holders.pop(key, None)
        self.rejudging.discard(key)
        if entry.wants:
            (self.refused if entry.refused else self.waiting).remove(entry.turn)
        if entry.failure is not None:
            self._failures.remove(key)
        if entry.source is not None:
            self._sources[entry.source].remove(key)
            if not self._sources[entry.source]:
                del self._sources[entry.source]

    def _count(self, entry: _Entry, one: int) -> None:
        self.stages[entry.stage] += one
        self.open += one * (not entry.final)
        self.spent += one * entry.spends
        unit = self.units.setdefault(entry.unit, Unit(labels=None))
        unit.labels = entry.labels
        unit.bindings += one
        unit.promoted += one * (entry.stage is Stage.PROMOTED)
        unit.failed += one * entry.spends
        unit.open += one * (not entry.final)
        if not unit.bindings:
            del self.units[entry.unit]


def tally_of(
    participation: Participation, bindings: Iterable[AdapterBinding], namespaces: Mapping[str, NamespaceView]
) -> Tally:
    """Return the tally of a release among all bindings of its model."""
    tally = Tally(release=participation.release)
    for binding in bindings:
        found = participation.of(binding, namespaces.get(binding.metadata.namespace))
        tally.put(binding_key(binding), binding, found)
    return tally

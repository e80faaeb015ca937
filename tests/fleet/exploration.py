"""Every state that a small fleet can reach, by breadth-first search over the decisions and what may happen around them.

From a state in which nothing is left to do, something happens: a Job ends, a roll-out ends or sticks, people change
something, time passes. Then the operator does all that follows. On the way it may be interrupted: `strays` bounds how
often on one path something else happens first, only one key is reconciled, or the operator dies in the middle of a
plan. Two states are the same when nothing that a decision reads tells them apart.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fleet.jobs import SimJob
from fleet.world import CrashedError, SimTarget, Watched, World
from relora_operator.core.times import moment

if TYPE_CHECKING:
    from relora_contract.model import Model

LONG_AGO_SECONDS = 6 * 3600
"""No deadline of a story tells times apart that are older than this."""
_UNREAD = frozenset({"message", "lastTransitionTime", "observedGeneration"})
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class Event:
    """Something that happens to the world."""

    name: str
    happen: Callable[[World], object]
    people: bool = False
    """Somebody does it: it does not happen by itself."""


Events = Callable[[World], Iterable[Event]]
Rule = Callable[[World, World], None]
"""Checks one step: the world before and after it, with what was written in between."""


@dataclass
class Node:
    """A state, and how it was reached."""

    world: World
    settled: bool
    strays: int
    path: tuple[str, ...] = ()
    by_itself: list[Hashable] = field(default_factory=list)
    """The states that follow without people."""


@dataclass
class Explored:
    """Everything that was found."""

    nodes: dict[Hashable, Node] = field(default_factory=dict)
    transitions: int = 0

    @property
    def ends(self) -> list[Node]:
        """The states in which nothing more happens by itself."""
        return [node for node in self.nodes.values() if not node.by_itself]


class ViolationError(AssertionError):
    """Something that must always hold does not."""


def explore(start: World, events: Events, *, rules: Iterable[Rule] = (), strays: int = 0) -> Explored:
    """Search everything that can be reached from `start`.

    Raises:
        ViolationError: A rule or an invariant of the world was broken; the message tells the path.
    """
    found, identity = Explored(), Identity()
    first = Node(copied(start).settle(), settled=True, strays=strays)
    queue: deque[Hashable] = deque([identity.of(first)])
    found.nodes[queue[0]] = first
    while queue:
        node = found.nodes[queue.popleft()]
        for name, by_itself, happen, settled, left in _moves(node, events):
            after = Node(copied(node.world), settled=settled, strays=left, path=(*node.path, name))
            try:
                happen(after.world)
                for rule in rules:
                    rule(node.world, after.world)
            except AssertionError as broken:
                raise ViolationError(f"{' > '.join(after.path)}: {broken}") from broken
            found.transitions += 1
            key = identity.of(after)
            if by_itself and found.nodes.get(key) is not node:
                node.by_itself.append(key)
            if key not in found.nodes:
                found.nodes[key] = after
                queue.append(key)
    return found


Move = tuple[str, bool, Callable[[World], object], bool, int]
"""Name, whether it happens by itself, what happens, whether the operator is done then, and the strays that are left."""


def _moves(node: Node, events: Events) -> Iterator[Move]:
    if not node.settled:
        yield "settle", True, World.settle, True, node.strays
        if node.strays == 0:
            return
        yield from _interrupted(node)
    left = node.strays if node.settled else node.strays - 1
    for event in events(node.world):
        happen = event.happen if node.strays else _then_settled(event)
        yield event.name, not event.people, happen, not node.strays, left


def _then_settled(event: Event) -> Callable[[World], object]:
    """Let the operator do all that follows at once where nothing can come in between."""

    def happen(world: World) -> None:
        event.happen(world)
        world.settle()

    return happen


def _interrupted(node: Node) -> Iterator[Move]:
    """Yield the reconciles of single keys, whole, and ended by a crash after each of their writes."""
    for key in list(World.keys(node.world)):
        trial = copied(node.world)
        trial.reconcile(key)
        for count in range(1, len(trial.writes) + 1):
            # The last one is the whole plan: what follows the last write changes nothing outside.

            def happen(world: World, key: Any = key, count: int = count) -> None:  # noqa: ANN401 - bound early
                world.crash_after_writes = count
                try:
                    world.reconcile(key)
                except CrashedError:
                    world.restart_operator()
                world.crash_after_writes = None

            yield f"{key.kind} {key.name}, {count} writes", True, happen, False, node.strays - 1


def copied(world: World) -> World:
    """Return a world that shares nothing that changes, without the account of what was done."""
    twin = copy(world)
    for part in fields(world):
        value = getattr(world, part.name)
        if isinstance(value, dict):
            kept = {key: replace(one) if isinstance(one, SimJob | SimTarget) else one for key, one in value.items()}
            setattr(twin, part.name, kept)
        elif isinstance(value, set):
            setattr(twin, part.name, set(value))
        elif isinstance(value, list):
            setattr(twin, part.name, [])
    return twin


class Identity:
    """Tells which worlds are the same. What was told of a part once is remembered: most parts do not change."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, datetime], tuple[Model, str]] = {}

    def of(self, node: Node) -> Hashable:
        """Return what is equal for equal states."""
        world = node.world
        objects: list[Watched] = [*world.releases.values(), *world.bindings.values(), *world.servers.values()]
        return (
            node.settled,
            node.strays,
            tuple((one.metadata.name, self._text(one.spec, world.now)) for one in objects),
            tuple(tuple(sorted(one.metadata.annotations.items())) for one in objects),
            tuple(self._text(one.status, world.now) for one in objects),
            tuple(one.status.observed_generation == one.metadata.generation for one in world.releases.values()),
            tuple(_job(world, key) for key in sorted(world.jobs)),
            tuple(_target(world, key) for key in sorted(world.targets)),
            tuple((release, tuple(sorted(keys))) for release, keys in sorted(world.grants.items()) if keys),
            tuple(sorted(world.refusing)),
            tuple(sorted((key, job, refusal.again_at > world.now) for (key, job), refusal in world.refusals.items())),
            tuple(sorted((*key, str(report.verdict)) for key, report in world.reports.items())),
        )

    def _text(self, part: Model, now: datetime) -> str:
        known = self._told.get((id(part), now))
        if known is None:
            known = part, json.dumps(_timeless(part.to_json(), now))
            self._told[id(part), now] = known
        return known[1]


def _timeless(value: Any, now: datetime) -> Any:  # noqa: ANN401 - JSON
    """Return JSON without what no decision reads, and with ages in place of times."""
    match value:
        case dict():
            return {key: _timeless(inner, now) for key, inner in value.items() if key not in _UNREAD}
        case list():
            return [_timeless(inner, now) for inner in value]
        case str() if _TIMESTAMP.fullmatch(value):
            return "long ago" if (now - moment(value)).total_seconds() >= LONG_AGO_SECONDS else "just now"
        case _:
            return value


def _job(world: World, key: tuple[str, str]) -> Hashable:
    view = world.jobs[key].view
    pods = tuple((container.name, container.exit_code) for pod in view.pods for container in pod.containers)
    return key, view.complete, view.failed, view.deleting, view.has_ttl, view.suspended, pods


def _target(world: World, key: tuple[str, str]) -> Hashable:
    target = world.targets[key]
    view = target.view
    served = target.serving.digest if target.serving is not None else None
    return key, view.serving_set_digest, view.rolled_out, view.failing, served


def livelock(found: Explored) -> list[str] | None:
    """Return a round of states that follow one another by themselves for ever, or None when there is none."""
    done: set[Hashable] = set()
    for root in found.nodes:
        trail: dict[Hashable, Iterator[Hashable]] = {}
        at: Hashable | None = root if root not in done else None
        while at is not None or trail:
            if at is not None:
                trail[at] = iter(found.nodes[at].by_itself)
            here = next(reversed(trail))
            after = next(trail[here], None)
            if after is None:
                done.add(here)
                del trail[here]
                at = None
            elif after in trail:
                return [" > ".join(found.nodes[key].path) for key in trail]
            else:
                at = after if after not in done else None
    return None

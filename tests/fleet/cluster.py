"""A small fleet in a cluster where pods start at once and finished Jobs vanish, for the search of all states.

Every decision is a pure function of its snapshot: a key whose snapshot holds the very same objects as when nothing
was to be done for it is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import MappingProxyType

from typing_extensions import override

from fleet.builders import make_binding, make_release, make_server
from fleet.exploration import Event
from fleet.jobs import Script, SimJob, all_pass, exits, gate_says, run
from fleet.stories import fails_in
from fleet.world import MANY, NotSettledError, SimTarget, World
from relora_contract.api.server import CandidateSet
from relora_contract.report import Verdict
from relora_operator.core.actions import Key
from relora_operator.core.observed import ContainerView, PodView
from relora_operator.core.snapshot import BindingSnapshot, ReleaseSnapshot, ServerContext, ServerSnapshot
from relora_operator.core.tally import Tally
from relora_operator.core.times import moment

BACKOFF_SECONDS = 6 * 3600
ROLL_OUT_SECONDS = 1801


@dataclass
class Cluster(World):
    """A world whose kubelet and garbage collector wait for nobody."""

    at_rest: dict[Key, list[object]] = field(default_factory=dict)
    """What the snapshots held for which nothing was to be done."""

    @override
    def settle(self) -> Cluster:
        for _ in range(MANY):
            quiet = [self._is_quiet(key) for key in list(self.keys())]
            self._kubelet()
            if all(quiet):
                return self
        raise NotSettledError([str(write)[:300] for write in self.writes[-6:]])

    def _is_quiet(self, key: Key) -> bool:
        tallied = () if key.kind != "BaseModelRelease" else (*self.bindings.values(), *self.namespaces.values())
        held = [self.now, *self.profiles.values(), *tallied, *parts(self.snapshot(key))]
        known = self.at_rest.get(key)
        if known is not None and len(known) == len(held) and all(map(_same, known, held)):
            return True
        before, granted = len(self.writes), dict(self.grants)
        self.reconcile(key)
        if len(self.writes) > before or self.grants != granted:
            return False
        self.at_rest[key] = held
        return True

    def _kubelet(self) -> None:
        for key, job in list(self.jobs.items()):
            if job.view.has_ttl:
                del self.jobs[key]
            elif job.view.live and not (job.view.deleting or job.view.suspended or job.view.pods):
                job.view = replace(job.view, pods=(_running(job, self),))


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str | bool | datetime) and one == other)


def _running(job: SimJob, world: World) -> PodView:
    first = ContainerView(name=job.steps[0], started_at=world.now)
    return PodView(name="x", uid="x", phase="Running", created_at=world.now, scheduled=True, containers=(first,))


def parts(snapshot: BindingSnapshot | ReleaseSnapshot | ServerSnapshot | ServerContext | None) -> Iterator[object]:
    """Yield every object of a snapshot."""
    for part in vars(snapshot).values() if snapshot is not None else ():
        match part:
            case tuple():
                yield from part
            case frozenset():
                yield str(sorted(map(str, part)))
            case dict():
                yield from part.values()
            case ServerContext():
                yield from parts(part)
            case Tally():
                pass  # it follows from the bindings and the rest
            case _:
                yield part


def small_fleet(members: Mapping[str, str] = MappingProxyType({"x": "one", "y": "one", "z": "two"})) -> Cluster:
    """Return bindings on the first release, each with its server."""
    return _on_servers(members, {})


def splitting_fleet(*members: str) -> Cluster:
    """Return bindings on the first release, with one server that moves without stragglers: they go to `old`."""
    fallback = {"kind": "Deployment", "name": "old"}
    upgrade = {"stragglers": "Split", "fallbackTargetRef": fallback, "deadlineSeconds": BACKOFF_SECONDS}
    return _on_servers(dict.fromkeys(members, "one"), {"one": upgrade})


def split_in_two(straggler: str, *others: str) -> Cluster:
    """Return a fleet whose server has moved to the second release without one of its members."""
    world = splitting_fleet(straggler, *others)
    fails = fails_in(f"team-{straggler}")
    world.add(make_release("r2", "r1", minutes=10)).live_on(fails).wait(seconds=BACKOFF_SECONDS).live_on(fails)
    return world


def _on_servers(members: Mapping[str, str], upgrades: Mapping[str, dict[str, object]]) -> Cluster:
    world = Cluster()
    world.add(make_release("r1"))
    for server in sorted(set(members.values())):
        world.add(make_server(server, upgrade=upgrades.get(server))).add_target(server)
        if server in upgrades:
            world.add_target("old", consent=server)
    for name, server in members.items():
        binding = make_binding(name, namespace=f"team-{name}", readaptation={"maxAttempts": 2})
        world.add(binding.on_server(server).build())
    world.live_on()
    return world


PASSES, FAILS, FAILS_FOR_NOW, STICKS = "passes", "fails its gate", "fails for now", "sticks"
_SCRIPTS = {PASSES: all_pass, FAILS: gate_says(Verdict.FAILED), FAILS_FOR_NOW: exits(75)}
ANYTHING: dict[str, tuple[str, ...]] = {
    "x": (PASSES, FAILS, FAILS_FOR_NOW),
    "y": (PASSES, FAILS),
    "z": (PASSES, FAILS),
    "one": (STICKS,),
    "two": (STICKS,),
}
"""How the Jobs of each binding may end, and which servers' roll-outs may not end."""


def whatever_happens(world: World, outcomes: dict[str, tuple[str, ...]]) -> Iterator[Event]:
    """Yield what may happen without people: every end of every Job and roll-out."""
    for place, job in sorted(world.jobs.items()):
        if job.view.deleting:
            yield Event(f"{place[1]} is gone", partial(_gone, place))
        elif job.view.suspended and job.view.live:
            yield Event(f"the queue lets {place[1]} go", partial(_suspended, place, False))
        elif job.view.live:
            yield from _ends(place, job, outcomes)
    for (namespace, name), target in sorted(world.targets.items()):
        if target.view.rolled_out:
            continue
        yield Event(f"{name} is rolled out", partial(World.roll_out, name=name, namespace=namespace))
        candidate = _candidate(world, namespace, target)
        sticking = STICKS in outcomes.get(name, ()) and target.view.failing is None
        if sticking and candidate is not None and candidate.state == "RollingOut":
            yield Event(f"{name} sticks", partial(_stuck, name))
    if _only_time_helps(world) or _stragglers_have_time(world):
        yield Event("time passes", lambda world: world.wait(seconds=BACKOFF_SECONDS))


def _candidate(world: World, namespace: str, target: SimTarget) -> CandidateSet | None:
    """Return the set that is on its way to a target, or back."""
    assert target.view.consent is not None
    server = world.server(target.view.consent, namespace)
    if server.spec.target_ref.name == target.view.name:
        return server.status.candidate
    return server.status.fallback.candidate if server.status.fallback is not None else None


def _ends(place: tuple[str, str], job: SimJob, outcomes: dict[str, tuple[str, ...]]) -> Iterator[Event]:
    whose = place[1].partition("-")[0]
    for words in outcomes.get(whose, (PASSES,)) if job.view.kind == "readaptation" else (PASSES,):
        yield Event(f"{place[1]} {words}", _ending(place, _SCRIPTS[words]))


def _ending(place: tuple[str, str], script: Script) -> Callable[[World], object]:
    return lambda world: run(world, world.jobs[place], script)


def _suspended(place: tuple[str, str], suspended: bool, world: World) -> None:  # noqa: FBT001 - bound early
    job = world.jobs[place]
    job.view = replace(job.view, suspended=suspended, started_at=world.now, pods=())


def preemptions(world: World) -> Iterator[Event]:
    """Yield that the queue takes back each Job that it let go."""
    for place, job in sorted(world.jobs.items()):
        if job.view.live and not job.view.suspended and not job.view.deleting:
            yield Event(f"the queue takes {place[1]} back", partial(_suspended, place, True), people=True)


def _gone(place: tuple[str, str], world: World) -> None:
    del world.jobs[place]


def _stuck(name: str, world: World) -> None:
    world.stick(name, failing="crash").settle().wait(seconds=ROLL_OUT_SECONDS)


def _stragglers_have_time(world: World) -> bool:
    """Tell whether a server waits for members whose time is not over, and nothing else would notice the hours."""
    waiting = [one.status.next for one in world.servers.values() if one.spec.effective_upgrade.splits]
    started = [moment(following.start_time) for following in waiting if following is not None]
    at_rest = all(target.view.rolled_out for target in world.targets.values())
    started_all = all(job.view.pods or not job.view.live for job in world.jobs.values())
    return at_rest and started_all and any((world.now - start).total_seconds() < BACKOFF_SECONDS for start in started)


def _only_time_helps(world: World) -> bool:
    waiting = ("False/Retrying", "False/JobRefused") if not world.refusing else ("False/Retrying",)
    retrying = any(world.condition(binding, "UpToDate") in waiting for binding in world.bindings.values())
    return retrying and not any(job.view.deleting for job in world.jobs.values())

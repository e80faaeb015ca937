"""Searches of a small fleet: what people do meanwhile, the rules of every step, and what a good end is."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from fleet.builders import make_release
from fleet.cluster import ANYTHING, Cluster, small_fleet, whatever_happens
from fleet.exploration import Event, Events, Explored, Node, Rule, ViolationError, copied, explore, livelock
from fleet.world import World
from relora_contract.api.binding import AdapterBinding
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_operator.core.actions import CreateJob
from relora_operator.core.membership import server_key
from relora_operator.core.reasons import REGISTRY, Reason


def release_comes(name: str, before: str, **spec: object) -> Callable[[World], Iterator[Event]]:
    """Somebody applies a release, at any moment after the one before it."""

    def events(world: World) -> Iterator[Event]:
        if name not in world.releases and before in world.releases:
            yield Event(f"{name} comes", lambda world: world.add(make_release(name, before, **spec)), people=True)  # type: ignore[arg-type]  # fields of the spec

    return events


def withdrawal_of(name: str) -> Events:
    """Somebody withdraws a release, at any moment."""

    def events(world: World) -> Iterator[Event]:
        release = world.releases.get(name)
        if release is not None and not release.spec.withdrawn:
            spec = release.spec.model_copy(update={"withdrawn": True})
            taken_back = release.model_copy(update={"spec": spec})
            yield Event(f"{name} is withdrawn", lambda world: world.add(taken_back), people=True)

    return events


def accepted_failures(number: int) -> Events:
    """Somebody accepts failures, once the release is halted."""

    def events(world: World) -> Iterator[Event]:
        release = world.releases.get("r2")
        if release is None or world.condition(release, "Halted") == "-" or number == accepted(release):
            return
        spec = release.spec.model_dump(by_alias=True, exclude_none=True)
        budget = {**spec["rollout"].get("failureBudget", {}), "acceptedFailures": number}
        spec["rollout"] = {**spec["rollout"], "failureBudget": budget}
        resumed = release.model_copy(update={"spec": type(release.spec).model_validate(spec)})
        yield Event(f"{number} failures are accepted", lambda world: world.add(resumed), people=True)

    return events


def accepted(release: BaseModelRelease) -> int:
    return release.spec.failure_budget.effective_accepted_failures


def all_of(*sources: Events) -> Events:
    return lambda world: (event for source in sources for event in source(world))


def with_canary(world: Cluster, server: str) -> Cluster:
    """Make a server a canary."""
    one = world.server(server)
    world.add(one.model_copy(update={"metadata": one.metadata.model_copy(update={"labels": {"canary": "yes"}})}))
    return world


def on_r2(members: Mapping[str, str]) -> Cluster:
    """Return bindings on the second release, each with its server."""
    fleet = small_fleet(members)
    fleet.add(make_release("r2", "r1", minutes=10)).live_on()
    return fleet


def everything_stays_served(before: World, after: World) -> None:
    """S6: a name that is served stays served, and pods hold one release's adapters (checked by the world) only."""
    for key, server in before.servers.items():
        assert names_served(before, server) <= names_served(after, after.servers[key])


def names_served(world: World, server: AdapterServer) -> set[str]:
    """Return what a server's pods answer to, on both of its workloads."""
    sets = [target.serving for target in world.serving(server) if target.serving is not None]
    return {adapter.name for each in sets for adapter in each.adapters}


def ready_is_never_false(before: World, after: World) -> None:
    """S8: who says Ready is served what it says, by the old pods or by the new ones."""
    for binding in after.bindings.values():
        reference, current = binding.spec.server_ref, binding.status.current
        if reference is None or after.condition(binding, "Ready") != "True/Promoted":
            continue
        assert current is not None
        server = after.server(reference.name, reference.namespace or binding.metadata.namespace)
        name = f"{binding.metadata.namespace}.{binding.metadata.name}"
        seen = [
            ((target.serving.release, one.digest), target.serving.digest == target.view.serving_set_digest)
            for target in after.serving(server)
            if target.serving is not None
            for one in target.serving.adapters
            if one.name == name
        ]
        pair = current.release_name, current.adapter.digest
        assert any(served == pair or arriving for served, arriving in seen)


def served_where_the_status_says(before: World, after: World) -> None:
    """Each name has one place to be asked at, the fallback or the main target, and is served there."""
    for key, server in after.servers.items():
        fallback = server.status.fallback
        asked = set(fallback.served_names) if fallback is not None else set()
        main, beside = (
            {one.name for one in target.serving.adapters}
            if target is not None and target.serving is not None
            else set()
            for target in (
                after.targets.get((key.namespace, server.spec.target_ref.name)),
                after.targets.get((key.namespace, fallback.target_name)) if fallback is not None else None,
            )
        )
        assert asked <= beside
        assert names_served(before, before.servers[key]) - asked <= main


def nothing_begins_while_halted(before: World, after: World) -> None:
    """While a release is halted no Job of it starts, and no server and no binding moves to it."""
    then, now = before.releases.get("r2"), after.releases.get("r2")
    if then is None or now is None or "-" in (before.condition(then, "Halted"), after.condition(now, "Halted")):
        return
    assert not any(isinstance(write, CreateJob) for write in after.writes)
    for key, server in after.servers.items():
        begun = server.status.candidate
        if begun is not None and begun.release_name == "r2":
            assert before.servers[key].status.candidate is not None


def canaries_come_first(before: World, after: World) -> None:
    """Until the canaries have passed no Job of another binding starts, and no other server moves."""
    if "r2" not in before.releases or let_go(before) or let_go(after):
        return
    jobs = [write for write in after.writes if isinstance(write, CreateJob)]
    assert all(job.namespace in {"team-z", "relora-system"} for job in jobs)
    assert after.server("one").status.candidate is None


def no_more_jobs_than_allowed(_: World, after: World) -> None:
    """No more Jobs run than the newest release allows, besides those that are being ended."""
    newest = max(after.releases.values(), key=lambda one: (one.metadata.creation_timestamp, one.metadata.name))
    running = [job for job in after.live_jobs() if not job.view.deleting]
    assert len(running) <= newest.spec.max_running_jobs


def what_passed_is_kept(before: World, after: World) -> None:
    """What passed for r3 stays, and a server on r2 of which all members have passed goes nowhere else.

    Unless the roll-out of r3 was taken back there, which these searches leave out.
    """
    passed = {key: digest for key, binding in before.bindings.items() if (digest := _passed_for(binding, "r3"))}
    assert all(_passed_for(after.bindings[key], "r3") == digest for key, digest in passed.items())
    for key, server in before.servers.items():
        members = [name for name, binding in before.bindings.items() if server_key(binding) == key]
        current, begun = server.status.current, after.servers[key].status.candidate
        if current is not None and current.release_name == "r2" and all(name in passed for name in members):
            assert begun is None or begun.release_name == "r3" or begun == server.status.candidate


def _passed_for(binding: AdapterBinding, release: str) -> str | None:
    candidate = binding.status.candidate
    if candidate is None or candidate.release_name != release or candidate.adapter is None:
        return None
    return candidate.adapter.digest


def let_go(world: World) -> bool:
    """Tell whether the others may follow the canaries."""
    progress = world.releases["r2"].status.canaries
    return progress is not None and progress.passed_time is not None


RULES: tuple[Rule, ...] = (everything_stays_served, ready_is_never_false)
"""Those of every search."""


def search(
    start: Cluster,
    *events: Events,
    outcomes: dict[str, tuple[str, ...]] = ANYTHING,
    rules: tuple[Rule, ...] = (),
    strays: int = 0,
) -> Explored:
    """Explore, and demand of every end that it is good, and that no round goes on for ever."""
    by_itself = partial(whatever_happens, outcomes=outcomes)
    found = explore(start, all_of(by_itself, *events), rules=(*RULES, *rules), strays=strays)
    print(f"{len(found.nodes)} states, {found.transitions} transitions, {len(found.ends)} ends")
    assert livelock(found) is None
    for node in found.ends:
        try:
            is_a_good_end(node)
        except AssertionError as bad:
            raise ViolationError(f"{' > '.join(node.path)}: {bad}") from bad
    return found


def is_a_good_end(node: Node) -> None:
    """L1 and L4: every binding is where it stays, and the operator writes nothing, also after a restart."""
    assert not node.world.live_jobs()
    for binding in node.world.bindings.values():
        told = node.world.condition(binding, "UpToDate")
        assert told.startswith("True/") or REGISTRY[Reason(told.partition("/")[2])].terminal, told
    later = copied(node.world)
    later.restart_operator()
    later.wait(seconds=86_400).settle()
    assert later.writes == []


def releases_in_use(world: World) -> set[str]:
    """Return the releases that bindings are on, and that pods serve."""
    served = {target.serving.release for target in world.targets.values() if target.serving is not None}
    return served | {
        one.status.current.release_name for one in world.bindings.values() if one.status.current is not None
    }


def all_left(found: Explored, name: str = "r2") -> None:
    """Demand that nobody is on a withdrawn release in the end, unless the way back failed."""
    after = [node.world for node in found.ends if name in node.world.releases]
    withdrawn = [world for world in after if world.releases[name].spec.withdrawn]
    returned = [world for world in withdrawn if not failed_to_return(world)]
    assert returned
    assert all(name not in releases_in_use(world) for world in returned)


def failed_to_return(world: World) -> bool:
    """Tell whether the first release's set did not get ready again."""
    return any(failed.release_name == "r1" for server in world.servers.values() for failed in server.status.rolled_back)

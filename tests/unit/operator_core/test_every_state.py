"""Every state of a small fleet: nothing unsafe is reachable, and whatever happens it comes to rest in a good end.

Two releases, two servers, three bindings. Each search prints how many states it saw.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from fleet.builders import make_profile, make_release
from fleet.cluster import ANYTHING, FAILS, PASSES, STICKS, Cluster, preemptions, small_fleet, whatever_happens
from fleet.exploration import Event, Events, Explored, Node, Rule, ViolationError, copied, explore, livelock
from fleet.world import World
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.actions import CreateJob
from relora_operator.core.reasons import REGISTRY, Reason

pytestmark = pytest.mark.exhaustive


def release_comes(name: str, before: str, **spec: object) -> Callable[[World], Iterator[Event]]:
    """Somebody applies a release, at any moment after the one before it."""

    def events(world: World) -> Iterator[Event]:
        if name not in world.releases and before in world.releases:
            yield Event(f"{name} comes", lambda world: world.add(make_release(name, before, **spec)), people=True)  # type: ignore[arg-type]  # fields of the spec

    return events


def all_of(*sources: Events) -> Events:
    return lambda world: (event for source in sources for event in source(world))


def everything_stays_served(before: World, after: World) -> None:
    """S6: a name that is served stays served, and pods hold one release's adapters (checked by the world) only."""
    for place, target in before.targets.items():
        if target.serving is None:
            continue
        then = after.targets[place].serving
        assert then is not None
        assert {one.name for one in target.serving.adapters} <= {one.name for one in then.adapters}


def ready_is_never_false(before: World, after: World) -> None:
    """S8: who says Ready is served what it says, by the old pods or by the new ones."""
    for binding in after.bindings.values():
        reference, current = binding.spec.server_ref, binding.status.current
        if reference is None or after.condition(binding, "Ready") != "True/Promoted":
            continue
        target = after.target(reference.name, reference.namespace or binding.metadata.namespace)
        assert current is not None
        assert target.serving is not None
        name = f"{binding.metadata.namespace}.{binding.metadata.name}"
        served = {one.name: one.digest for one in target.serving.adapters}
        arriving = target.serving.digest == target.view.serving_set_digest
        assert (target.serving.release, served.get(name)) == (current.release_name, current.adapter.digest) or arriving


RULES = (everything_stays_served, ready_is_never_false)


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


def conditions_of(world: World) -> tuple[str, ...]:
    """Return what each binding says of its upgrade."""
    return tuple(world.condition(binding, "UpToDate") for _, binding in sorted(world.bindings.items()))


def test_a_release() -> None:
    found = search(small_fleet(), release_comes("r2", "r1"))
    assert len(found.nodes) > 400
    assert ("True/NewestRelease",) * 3 in [conditions_of(node.world) for node in found.ends]


def test_a_release_that_a_newer_one_supersedes_at_any_moment() -> None:
    found = search(small_fleet(), release_comes("r2", "r1"), release_comes("r3", "r2"), outcomes={"x": (PASSES, FAILS)})
    assert len(found.nodes) > 500
    in_use = [releases_in_use(node.world) for node in found.ends if "r3" in node.world.releases]
    assert {release for releases in in_use for release in releases} == {"r1", "r2", "r3"}


def quota_of(namespace: str) -> Events:
    """Somebody forbids Jobs in a namespace, at any moment of a release, and somebody allows them again."""

    def come(world: World) -> None:
        world.refusing[namespace] = (403, "exceeded quota")

    def lift(world: World) -> None:
        del world.refusing[namespace]

    def events(world: World) -> Iterator[Event]:
        if namespace in world.refusing:
            yield Event("the quota is lifted", lift, people=True)
        elif "r2" in world.releases:
            yield Event("a quota comes", come, people=True)

    return events


def test_a_quota_that_refuses_jobs_at_any_moment() -> None:
    found = search(small_fleet(), release_comes("r2", "r1"), quota_of("team-x"), outcomes={"x": (PASSES, FAILS)})
    told = {conditions_of(node.world) for node in found.ends}
    assert "False/JobRefused" in {one for names in told for one in names}
    assert all("False/JobRefused" not in conditions_of(node.world) for node in found.ends if not node.world.refusing)
    assert ("True/NewestRelease",) * 3 in told


def test_a_queue_that_lets_jobs_go_and_takes_them_back_at_any_moment() -> None:
    fleet = small_fleet()
    fleet.add(make_profile(scheduling={"localQueueName": "gpus"}))
    comes = release_comes("r2", "r1", rollout={"maxQueuedJobs": 2})
    found = search(fleet, comes, preemptions, outcomes={"x": (PASSES, FAILS)}, rules=(no_attempt_is_lost,))
    assert any(
        sum(job.view.suspended for job in node.world.live_jobs()) == 2 and "False/Queued" in conditions_of(node.world)
        for node in found.nodes.values()
    )
    assert ("True/NewestRelease",) * 3 in [conditions_of(node.world) for node in found.ends]


def no_attempt_is_lost(before: World, after: World) -> None:
    """No attempt fails, and the queue holds no more Jobs than the release allows besides those it had let go."""
    for binding in after.bindings.values():
        candidate = binding.status.candidate
        assert candidate is None or (candidate.attempt, candidate.failures) == (1, 0) or candidate.reason is not None
    created = [write for write in after.writes if isinstance(write, CreateJob)]
    held = sum(job.view.suspended for job in after.live_jobs())
    assert not created or held <= 2


def withdrawal_of(name: str) -> Events:
    """Somebody withdraws a release, at any moment."""

    def events(world: World) -> Iterator[Event]:
        release = world.releases.get(name)
        if release is not None and not release.spec.withdrawn:
            spec = release.spec.model_copy(update={"withdrawn": True})
            taken_back = release.model_copy(update={"spec": spec})
            yield Event(f"{name} is withdrawn", lambda world: world.add(taken_back), people=True)

    return events


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


def test_a_release_that_is_withdrawn_at_any_moment_is_left_by_all() -> None:
    outcomes = {"x": (PASSES, FAILS), "z": (PASSES, FAILS), "one": (STICKS,), "two": (STICKS,)}
    found = search(small_fleet(), release_comes("r2", "r1"), withdrawal_of("r2"), outcomes=outcomes)
    all_left(found)
    assert len(found.nodes) > 200


def test_a_release_that_is_superseded_and_withdrawn_in_any_order_is_left_by_all() -> None:
    events = (release_comes("r2", "r1"), release_comes("r3", "r2"), withdrawal_of("r2"))
    found = search(small_fleet({"x": "one", "y": "one"}), *events, outcomes={"x": (PASSES, FAILS), "one": (STICKS,)})
    all_left(found)
    assert {"r3"} in [releases_in_use(node.world) for node in found.ends]


def test_a_withdrawal_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    events = (release_comes("r2", "r1"), withdrawal_of("r2"))
    all_left(search(small_fleet({"x": "one", "y": "one"}), *events, outcomes={"one": (STICKS,)}, strays=3))


def test_a_release_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    outcomes = {"x": (PASSES, FAILS), "one": (STICKS,)}
    found = search(small_fleet({"x": "one", "y": "one"}), release_comes("r2", "r1"), outcomes=outcomes, strays=4)
    assert len(found.nodes) > 400


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


def let_go(world: World) -> bool:
    """Tell whether the others may follow the canaries."""
    progress = world.releases["r2"].status.canaries
    return progress is not None and progress.passed_time is not None


def canaries_come_first(before: World, after: World) -> None:
    """Until the canaries have passed no Job of another binding starts, and no other server moves."""
    if "r2" not in before.releases or let_go(before) or let_go(after):
        return
    jobs = [write for write in after.writes if isinstance(write, CreateJob)]
    assert all(job.namespace in {"team-z", "relora-system"} for job in jobs)
    assert after.server("one").status.candidate is None


def with_canary(world: Cluster, server: str) -> Cluster:
    """Make a server a canary."""
    one = world.server(server)
    world.add(one.model_copy(update={"metadata": one.metadata.model_copy(update={"labels": {"canary": "yes"}})}))
    return world


def test_a_release_that_may_fail_nowhere_is_halted_and_resumed_at_any_moment() -> None:
    halting = release_comes("r2", "r1", rollout={"failureBudget": {"maxFailed": "0"}, "maxRunningJobs": 2})
    rules = (nothing_begins_while_halted,)
    found = search(small_fleet(), halting, accepted_failures(1), rules=rules)
    assert any("False/ReleaseHalted" in conditions_of(node.world) for node in found.ends)


def test_a_release_with_a_canary_that_may_fail_is_resumed_or_withdrawn_at_any_moment() -> None:
    canary = {"selector": {"matchLabels": {"canary": "yes"}}}
    rules = (nothing_begins_while_halted, canaries_come_first)
    events = (release_comes("r2", "r1", rollout={"canary": canary}), accepted_failures(1), withdrawal_of("r2"))
    found = search(with_canary(small_fleet(), "two"), *events, rules=rules)
    all_left(found)
    assert {"r1", "r2"} in [releases_in_use(node.world) for node in found.ends]


def test_a_halt_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    canary = {"selector": {"matchLabels": {"canary": "yes"}}}
    rules = (nothing_begins_while_halted, canaries_come_first)
    events = (release_comes("r2", "r1", rollout={"canary": canary}), accepted_failures(1), withdrawal_of("r2"))
    fleet = with_canary(small_fleet({"x": "one", "z": "two"}), "two")
    all_left(search(fleet, *events, outcomes={"z": (PASSES, FAILS)}, rules=rules, strays=2))

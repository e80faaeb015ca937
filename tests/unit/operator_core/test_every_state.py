"""Every state of a small fleet: nothing unsafe is reachable, and whatever happens it comes to rest in a good end.

Two releases, two servers, three bindings. Each search prints how many states it saw.
"""

from collections.abc import Iterator

import pytest

from fleet.builders import make_profile
from fleet.cluster import FAILS, PASSES, STICKS, preemptions, small_fleet
from fleet.exploration import Event, Events
from fleet.searching import (
    accepted_failures,
    all_left,
    canaries_come_first,
    no_more_jobs_than_allowed,
    nothing_begins_while_halted,
    on_r2,
    release_comes,
    releases_in_use,
    search,
    what_passed_is_kept,
    with_canary,
    withdrawal_of,
)
from fleet.world import World
from relora_operator.core.actions import CreateJob

pytestmark = pytest.mark.exhaustive


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


def test_a_release_that_is_withdrawn_when_a_newer_one_has_passed_leads_on_in_whatever_order_that_is_seen() -> None:
    events = (release_comes("r3", "r2"), withdrawal_of("r2"))
    found = search(on_r2({"x": "one", "y": "one"}), *events, outcomes={}, rules=(what_passed_is_kept,), strays=1)
    after = [node.world for node in found.ends if "r3" in node.world.releases]
    assert after
    assert {release for world in after for release in releases_in_use(world)} == {"r3"}


def test_a_withdrawal_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    events = (release_comes("r2", "r1"), withdrawal_of("r2"))
    all_left(search(small_fleet({"x": "one", "y": "one"}), *events, outcomes={"one": (STICKS,)}, strays=3))


def test_a_release_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    outcomes = {"x": (PASSES, FAILS), "one": (STICKS,)}
    found = search(small_fleet({"x": "one", "y": "one"}), release_comes("r2", "r1"), outcomes=outcomes, strays=4)
    assert len(found.nodes) > 400


def test_a_release_that_may_fail_nowhere_is_halted_and_resumed_at_any_moment() -> None:
    halting = release_comes("r2", "r1", rollout={"failureBudget": {"maxFailed": "0"}, "maxRunningJobs": 2})
    rules = (nothing_begins_while_halted, no_more_jobs_than_allowed)
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

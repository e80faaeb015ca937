"""Every state of a small server that moves without stragglers: each name is always served where the status says.

Each search prints how many states it saw.
"""

from collections.abc import Iterator

import pytest

from fleet.cluster import FAILS, PASSES, STICKS, splitting_fleet
from fleet.exploration import Event, Events, Explored
from fleet.searching import all_left, names_served, release_comes, releases_in_use, search, withdrawal_of
from fleet.world import World

pytestmark = pytest.mark.exhaustive


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


def split_in(found: Explored) -> set[frozenset[str]]:
    """Return who stays behind in the ends."""
    fallbacks = (server.status.fallback for node in found.ends for server in node.world.servers.values())
    return {frozenset(fallback.served_names) for fallback in fallbacks if fallback is not None}


SPLIT_RULES = (served_where_the_status_says,)
EITHER_STICKS = {"one": (STICKS,), "old": (STICKS,)}


def test_stragglers_of_a_release_stay_behind_and_nobody_is_ever_unserved() -> None:
    outcomes = {"x": (PASSES, FAILS), "y": (PASSES, FAILS), **EITHER_STICKS}
    found = search(splitting_fleet("x", "y"), release_comes("r2", "r1"), outcomes=outcomes, rules=SPLIT_RULES)
    assert split_in(found) == {frozenset({"team-x.x"}), frozenset({"team-y.y"})}


def test_a_release_that_is_withdrawn_at_any_moment_of_a_split_is_left_by_all() -> None:
    events = (release_comes("r2", "r1"), withdrawal_of("r2"))
    outcomes = {"x": (PASSES, FAILS), "old": (STICKS,)}
    all_left(search(splitting_fleet("x", "y"), *events, outcomes=outcomes, rules=SPLIT_RULES))


def while_somebody_stays_behind(source: Events) -> Events:
    def events(world: World) -> Iterator[Event]:
        if "False/Split" in (world.condition(server, "UpToDate") for server in world.servers.values()):
            yield from source(world)

    return events


def test_stragglers_that_pass_on_a_third_release_come_back() -> None:
    events = (release_comes("r2", "r1"), while_somebody_stays_behind(release_comes("r3", "r2")))
    found = search(splitting_fleet("x", "y"), *events, outcomes={"x": (PASSES, FAILS)}, rules=SPLIT_RULES)
    assert {"r1", "r3"} in [releases_in_use(node.world) for node in found.ends]


def test_a_split_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    fleet = splitting_fleet("x", "y")
    found = search(fleet, release_comes("r2", "r1"), outcomes={"x": (FAILS,)}, rules=SPLIT_RULES, strays=2)
    assert split_in(found) == {frozenset({"team-x.x"})}

"""Every state of a small server that moves without stragglers: each name is always served where the status says.

Each search prints how many states it saw.
"""

import pytest

from fleet.cluster import FAILS, PASSES, STICKS, split_in_two, splitting_fleet
from fleet.exploration import Explored
from fleet.searching import (
    all_left,
    release_comes,
    search,
    served_where_the_status_says,
    withdrawal_of,
)

pytestmark = pytest.mark.exhaustive


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


def test_stragglers_that_pass_on_a_third_release_come_back() -> None:
    found = search(
        split_in_two("x", "y"), release_comes("r3", "r2"), outcomes={"x": (PASSES, FAILS)}, rules=SPLIT_RULES
    )
    ends = [node.world.server("one").status for node in found.ends if "r3" in node.world.releases]
    assert {status.fallback is None for status in ends} == {True, False}
    assert {status.current.release_name for status in ends if status.current is not None} == {"r3"}


def test_a_split_while_the_operator_is_interrupted_or_killed_at_any_moment() -> None:
    fleet = splitting_fleet("x", "y")
    found = search(fleet, release_comes("r2", "r1"), outcomes={"x": (FAILS,)}, rules=SPLIT_RULES, strays=2)
    assert split_in(found) == {frozenset({"team-x.x"})}

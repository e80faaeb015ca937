"""Defects of the planner, seeded one at a time: the search of a small fleet finds each, and nothing without one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from traceback import extract_tb

import pytest

from fleet.builders import make_binding, make_release
from fleet.cluster import FAILS, PASSES, STICKS, small_fleet, split_in_two, splitting_fleet
from fleet.exploration import Event
from fleet.searching import (
    accepted_failures,
    all_left,
    canaries_come_first,
    no_more_jobs_than_allowed,
    nothing_begins_while_halted,
    on_r2,
    release_comes,
    search,
    served_where_the_status_says,
    what_passed_is_kept,
    with_canary,
    withdrawal_of,
)
from fleet.world import World
from relora_contract.api.meta import Condition
from relora_contract.api.release import BaseModelRelease
from relora_contract.serving import ServingSet
from relora_operator.core.conditions import Wanted, merged
from relora_operator.core.rollout import Rollout
from relora_operator.core.server_plan import Position
from relora_operator.core.serving_sets import live_set
from relora_operator.core.split import _staying
from relora_operator.core.times import timestamp

CORE = "relora_operator.core"
PAIR: Mapping[str, str] = {"x": "one", "y": "one"}
TWO: Mapping[str, str] = {"x": "one", "z": "two"}
FAILURE_OR_NOT: dict[str, tuple[str, ...]] = {"x": (PASSES, FAILS)}


def a_release() -> None:
    search(small_fleet(PAIR), release_comes("r2", "r1"), outcomes=FAILURE_OR_NOT)


def a_release_after_another() -> None:
    search(small_fleet({"x": "one"}), release_comes("r2", "r1"), release_comes("r3", "r2"), outcomes={})


def one_job_at_a_time() -> None:
    comes = release_comes("r2", "r1", rollout={"maxRunningJobs": 1})
    search(small_fleet(TWO), comes, outcomes={}, rules=(no_more_jobs_than_allowed,))


def a_roll_out_that_sticks() -> None:
    found = search(small_fleet({"x": "one"}), release_comes("r2", "r1"), outcomes={"one": (STICKS,)})
    assert any(node.world.server("one").status.rolled_back for node in found.nodes.values())


def a_halt() -> None:
    comes = release_comes("r2", "r1", rollout={"failureBudget": {"maxFailed": "0"}, "maxRunningJobs": 2})
    fleet, rules = small_fleet({"x": "one", "y": "two", "z": "three"}), (nothing_begins_while_halted,)
    found = search(fleet, comes, accepted_failures(1), outcomes=FAILURE_OR_NOT, rules=rules)
    after = [node.world for node in found.ends if "r2" in node.world.releases]
    assert "True/FailureBudgetExceeded" in {world.condition(world.releases["r2"], "Halted") for world in after}


def a_canary() -> None:
    comes = release_comes("r2", "r1", rollout={"canary": {"selector": {"matchLabels": {"canary": "yes"}}}})
    fleet = with_canary(small_fleet(TWO), "two")
    search(fleet, comes, outcomes={"z": (PASSES, FAILS)}, rules=(canaries_come_first,))


def a_withdrawal() -> None:
    all_left(search(small_fleet(PAIR), release_comes("r2", "r1"), withdrawal_of("r2"), outcomes={}))


def a_withdrawal_from_a_server_with_a_newcomer() -> None:
    """One member has no pair for an earlier release."""
    fleet = on_r2({"x": "one"})
    fleet.add(make_binding("late", namespace="team-late", source="r2").on_server("one").build()).live_on()
    search(fleet, withdrawal_of("r2"), outcomes={})


def a_withdrawal_after_a_newer_release_has_passed() -> None:
    """The server was suspended while its member passed, and is let go at any moment."""
    fleet = on_r2({"x": "one"})
    server = fleet.server("one")
    held = server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": True})})
    fleet.add(held, make_release("r3", "r2", minutes=20)).live_on()

    def let_go(world: World) -> Iterator[Event]:
        held = world.server("one")
        if held.spec.suspend:
            free = held.model_copy(update={"spec": server.spec})
            yield Event("the server is let go", lambda world: world.add(free), people=True)

    search(fleet, withdrawal_of("r2"), let_go, outcomes={}, rules=(what_passed_is_kept,))


def a_split() -> None:
    comes, rules = release_comes("r2", "r1"), (served_where_the_status_says,)
    search(splitting_fleet("x", "y"), comes, outcomes={"x": (FAILS,)}, rules=rules)


def a_return_after_a_split() -> None:
    comes, rules = release_comes("r3", "r2"), (served_where_the_status_says,)
    search(split_in_two("x", "y"), comes, outcomes={}, rules=rules)


def _hasty(position: Position, rollout: Rollout, due: BaseModelRelease | None) -> frozenset[str]:
    """As `_staying`, but a name is given up as soon as it is written to the main target."""
    record, current = position.snapshot.server.status.fallback, rollout.current
    if record is None or current is None or record.release_name == current.release_name:
        return _staying(position, rollout, due)
    return frozenset(record.served_names) - _names(position.live)


def _names(live: ServingSet | None) -> frozenset[str]:
    return frozenset(adapter.name for adapter in live.adapters) if live is not None else frozenset()


def _always_now(before: list[Condition], wanted: list[Wanted], generation: int, now: datetime) -> list[Condition]:
    """As `merged`, but every condition changed just now."""
    changed = {"last_transition_time": timestamp(now)}
    return [one.model_copy(update=changed) for one in merged(before, wanted, generation, now)]


def _forgetful(rollout: Rollout, *_: object) -> Rollout:
    """As `rolled_back`, without a record of what failed."""
    return replace(rollout, candidate=None, look_again_at=None)


@dataclass(frozen=True)
class Defect:
    """What is wrong, and the search that finds it.

    Attributes:
        at: What is replaced, by module and name.
        by: What takes its place.
        found_by: The search in which it shows.
        rule: The function whose assertion it breaks.
    """

    at: str
    by: object
    found_by: Callable[[], None]
    rule: str


DEFECTS = {
    "a server moves although a member failed": Defect(
        "server_plan.blocks_of", lambda *_: (), a_release, "everything_stays_served"
    ),
    "an adapter that failed its gate counts as passed": Defect(
        "candidate._passed",
        lambda step: step.adapter_digest is not None,
        a_release,
        "sets_hold_only_what_passed_or_is_pinned",
    ),
    "the next Job starts before the last one is gone": Defect(
        "obstacles._other_jobs", lambda *_: None, a_release_after_another, "one_live_job_per_binding"
    ),
    "more Jobs start than there are slots": Defect(
        "slots._Room.is_open", property(lambda _: True), one_job_at_a_time, "no_more_jobs_than_allowed"
    ),
    "a roll-out that sticks is never given up": Defect(
        "rollout._seconds_left", lambda *_: float("inf"), a_roll_out_that_sticks, "a_roll_out_that_sticks"
    ),
    "a set that was taken back is tried again for ever": Defect(
        "server_plan.rolled_back", _forgetful, a_roll_out_that_sticks, "search"
    ),
    "a set counts as promoted before its pods serve it": Defect(
        "serving.promoted_digest",
        lambda server: (server.status.candidate or server.status.current).set_digest,
        a_release,
        "ready_is_true_only_when_served",
    ),
    "failures halt no release": Defect("budget._overspent", lambda *_: None, a_halt, "a_halt"),
    "a halt holds back no server": Defect("server_plan.brake", lambda *_: None, a_halt, "nothing_begins_while_halted"),
    "a halt is not told as what holds a Job back": Defect(
        "obstacles._braked", lambda *_: None, a_halt, "is_a_good_end"
    ),
    "the others do not wait for the canaries": Defect(
        "obstacles._braked", lambda *_: None, a_canary, "canaries_come_first"
    ),
    "a withdrawn release is not left": Defect(
        "server_plan.releases_to_return_to", lambda *_: (), a_withdrawal, "is_a_good_end"
    ),
    "somebody is dropped on the way back": Defect(
        "server_plan.drops_nobody",
        lambda *_: True,
        a_withdrawal_from_a_server_with_a_newcomer,
        "everything_stays_served",
    ),
    "a withdrawal discards what passed for a newer release": Defect(
        "choice.outlives_source",
        lambda *_: False,
        a_withdrawal_after_a_newer_release_has_passed,
        "what_passed_is_kept",
    ),
    "the main target moves before the fallback serves": Defect(
        "split._serving", lambda _, target: _names(live_set(target)), a_split, "served_where_the_status_says"
    ),
    "the fallback gives a name up before the main target serves it": Defect(
        "split._staying", _hasty, a_return_after_a_split, "served_where_the_status_says"
    ),
    "a status is written at rest": Defect("binding.merged", _always_now, a_release, "is_a_good_end"),
}


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_a_seeded_defect_is_found(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CORE}.{defect.at}", defect.by)
    with pytest.raises(AssertionError) as caught:
        defect.found_by()
    cause = caught.value.__cause__ or caught.value
    assert extract_tb(cause.__traceback__)[-1].name == defect.rule


@pytest.mark.parametrize("looks", dict.fromkeys(defect.found_by for defect in DEFECTS.values()))
def test_without_a_defect_nothing_is_found(looks: Callable[[], None]) -> None:
    looks()

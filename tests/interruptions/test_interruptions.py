"""A step that is interrupted anywhere ends, at the next attempt, with the bits of one that was not.

A few points of every step; `test_every_point.py` has the rest.
"""

from collections.abc import Sequence
from itertools import groupby

import pytest

from interruptions.conftest import MakePlace
from interruptions.faults import Act, Fault
from interruptions.survival import PARTS, STEPS, finish, survive
from interruptions.world import World, check_whole, contents
from relora_contract.exitcodes import ExitCode


def number(points: Sequence[str], share: float) -> int:
    """Return the number of a point, by the share of the points that come before it."""
    return 1 + round(share * (len(points) - 1))


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_continues_and_ends_with_the_same_bits(
    world: World, make_place: MakePlace, step: str, share: float
) -> None:
    place = make_place()
    first, _ = survive(world, place, step, Fault(Act.KILL, number(world.points(step, place), share)))
    assert first.code < 0


@pytest.mark.parametrize("step", PARTS)
def test_a_terminated_step_repeats_nothing(world: World, make_place: MakePlace, step: str) -> None:
    part = PARTS[step]
    units = world.marks[step].attempt.progress(part)
    at = f"progress: {part} {units[len(units) // 2]}/"
    first, second = survive(world, make_place(), step, Fault(Act.TERM, 1, at))
    assert first.code == ExitCode.STOPPED
    assert max(first.progress(part)) == units[len(units) // 2]
    assert min(second.progress(part)) == units[len(units) // 2 + 1]
    assert "continuing from checkpoint" in second.log


def test_a_terminated_evaluation_repeats_no_piece(world: World, make_place: MakePlace) -> None:
    first, second = survive(world, make_place(), "port", Fault(Act.TERM, 1, "progress: port: gate 40/40"))
    assert first.code == ExitCode.STOPPED
    told = [[count for count, _ in groupby(attempt.progress("port: gate"))] for attempt in (first, second)]
    assert told == [[32, 40], [40, 32, 40]]  # the second piece of the reference anew, then the new base


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
@pytest.mark.parametrize("step", ["delta", "recover"])
def test_a_store_that_fails_leaves_nothing_half_published(
    world: World, make_place: MakePlace, step: str, share: float
) -> None:
    calls = [name for name in world.marks[step].attempt.points if name.startswith("store: ")]
    survive(world, make_place(), step, Fault(Act.FAIL, number(calls, share)))


@pytest.mark.parametrize("act", [Act.KILL, Act.TERM])
def test_a_fit_of_coefficients_continues(ready_world: World, make_place: MakePlace, act: Act) -> None:
    fit = ready_world.marks["fuse"].attempt.progress("fit")
    assert fit == [1, 2, 3]
    first, second = survive(ready_world, make_place(), "fuse", Fault(act, 1, "progress: fit 2/"))
    assert first.code != ExitCode.DONE
    assert second.progress("search") == []
    if act is Act.TERM:
        assert second.progress("fit") == [3]


@pytest.mark.parametrize("act", [Act.KILL, Act.TERM])
def test_the_monitors_last_answer_survives(ready_world: World, make_place: MakePlace, act: Act) -> None:
    """Two answers in a row end stage 1. The first of them must not be asked for again, nor be forgotten."""
    last = max(ready_world.marks["recover"].attempt.progress("recover"))
    first, _ = survive(ready_world, make_place(), "recover", Fault(act, 1, f"progress: recover {last - 1}/"))
    assert first.code != ExitCode.DONE


@pytest.mark.parametrize("act", [Act.KILL, Act.TERM])
def test_a_stage_that_has_ended_is_not_trained_again(ready_world: World, make_place: MakePlace, act: Act) -> None:
    first, second = survive(ready_world, make_place(), "recover", Fault(act, 2, "progress: recover: gate"))
    assert first.code != ExitCode.DONE
    if act is Act.TERM:
        assert second.progress("recover") == []


def test_a_step_that_is_killed_again_and_again_ends_with_the_same_bits(world: World, make_place: MakePlace) -> None:
    place = make_place()
    world.prepare(place, "refine")
    units = world.marks["refine"].attempt.progress("refine")
    begins = []
    for unit in units[3::2]:
        attempt = world.attempt("refine", place, fault=Fault(Act.KILL, 1, f"progress: refine {unit}/"))
        assert attempt.code < 0
        check_whole(place)
        begins.append(attempt.progress("refine")[0])
    assert begins == sorted(begins)
    assert begins[-1] > begins[0], "no attempt got any further"
    finish(world, place, "refine")


def test_a_report_stands_though_the_process_was_killed_before_it_could_tell(
    world: World, make_place: MakePlace
) -> None:
    place = make_place()
    world.prepare(place, "port")
    first = world.attempt("port", place, fault=Fault(Act.KILL, len(world.points("port", place))))
    reports = {key: data for key, data in contents(place).items() if key.startswith("reports/")}
    second = finish(world, place, "port")
    assert first.code < 0
    assert {key: data for key, data in contents(place).items() if key.startswith("reports/")} == reports
    assert not second.progress("port: gate")

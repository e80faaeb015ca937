"""One interruption, the attempt after it, and what must be true of both."""

import signal

from interruptions.faults import Act, Fault
from interruptions.trainer import Attempt
from interruptions.world import World, check_whole
from relora_contract.exitcodes import ExitCode
from samples.places import Place

STEPS = ("delta", "port", "fuse", "recover", "refine")
PARTS = {"delta": "project", "fuse": "search", "recover": "recover", "refine": "refine"}
"""What each step does in units that are saved."""
CODES: dict[Act, set[int]] = {
    Act.KILL: {-signal.SIGKILL, ExitCode.DONE},
    Act.TERM: {ExitCode.STOPPED, ExitCode.DONE},
    Act.FAIL: {ExitCode.TEMPORARY, ExitCode.DONE},
}
"""How an attempt may end. Done: the interruption came too late, or hit what a step can do without."""


def survive(world: World, place: Place, step: str, fault: Fault) -> tuple[Attempt, Attempt]:
    """Interrupt a step, let another pod make the next attempt, and check what both leave."""
    first = interrupt(world, place, step, fault)
    second = finish(world, place, step)
    check_loss(step, first, second, fault.act)
    return first, second


def interrupt(world: World, place: Place, step: str, fault: Fault) -> Attempt:
    """Interrupt a step and check what it leaves."""
    world.prepare(place, step)
    attempt = world.attempt(step, place, fault=fault)
    assert attempt.code in CODES[fault.act], attempt.log
    check_whole(place)
    return attempt


def finish(world: World, place: Place, step: str) -> Attempt:
    """Make the last attempt and check that the step ends as it does without an interruption."""
    last = world.attempt(step, place)
    assert last.code == ExitCode.DONE, last.log
    world.check_equal(place, step, last.log)
    return last


def check_loss(step: str, first: Attempt, second: Attempt, act: Act) -> None:
    """Check where the second attempt began: after the last checkpoint, which after SIGTERM is the last unit."""
    part = PARTS.get(step)
    if part is None or not second.progress(part):
        return
    saved = max(first.progress(part), default=0) if act is Act.TERM else first.saved(part)
    assert min(second.progress(part)) > saved

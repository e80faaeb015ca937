"""Interruptions all over the work of every step, over a local folder and a real S3 gateway."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from interruptions.conftest import MakePlace
from interruptions.faults import Act, Fault
from interruptions.survival import STEPS, check_loss, finish, interrupt
from interruptions.trainer import Attempt
from interruptions.world import PAGES, World, check_whole, contents
from relora_contract.exitcodes import ExitCode

pytestmark = pytest.mark.integration

KILLED_EVERY = {"file": 4, "s3": 10}
TERMINATED_EVERY = {"file": 6, "s3": 12}
FAILED_EVERY = {"file": 1, "s3": 10}
AT_RANDOM = 6
"""Kills of a step at random times."""
CONSOLE_SCRIPT = Path(sys.executable).with_name("relora-trainer")


def kind(make_place: MakePlace) -> str:
    return make_place().uri.partition(":")[0]


def survive_each(world: World, make_place: MakePlace, step: str, faults: Iterable[Fault]) -> Iterator[Attempt]:
    """Interrupt a step at each point, and let it end where the interrupted attempt has changed the store.

    Where it has not, the next attempt would be the uninterrupted run once more.
    """
    untouched = world.marks[step].before
    for fault in faults:
        place = make_place()
        first = interrupt(world, place, step, fault)
        if contents(place).keys() != untouched.keys():
            second = finish(world, place, step)
            check_loss(step, first, second, fault.act)
        yield first


def every(points: Sequence[str], stride: int) -> range:
    return range(1, len(points) + 1, stride)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_point(world: World, make_place: MakePlace, step: str) -> None:
    points = every(world.points(step, make_place()), KILLED_EVERY[kind(make_place)])
    assert list(survive_each(world, make_place, step, (Fault(Act.KILL, number) for number in points)))


@pytest.mark.parametrize("step", STEPS)
def test_terminated_at_every_point(world: World, make_place: MakePlace, step: str) -> None:
    points = every(world.points(step, make_place()), TERMINATED_EVERY[kind(make_place)])
    assert list(survive_each(world, make_place, step, (Fault(Act.TERM, number) for number in points)))


@pytest.mark.parametrize("step", STEPS)
def test_the_store_fails_at_every_call(world: World, make_place: MakePlace, step: str) -> None:
    calls = [name for name in world.marks[step].attempt.points if name.startswith("store: ")]
    points = every(calls, FAILED_EVERY[kind(make_place)])
    faults = (Fault(Act.FAIL, number) for number in points)
    for number, first in zip(points, survive_each(world, make_place, step, faults), strict=True):
        call = calls[number - 1]
        if "/checkpoints/" not in call and not call.endswith(PAGES):  # a step ends well without these
            assert first.code == ExitCode.TEMPORARY, f"{call}: {first.log}"


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_random_times(world: World, make_place: MakePlace, step: str) -> None:
    chance = random.Random(step)  # noqa: S311 - repeatable, not secret
    place = make_place()
    world.prepare(place, step)
    began = time.monotonic()
    assert world.attempt(step, place).code == ExitCode.DONE
    seconds = time.monotonic() - began
    for number in range(AT_RANDOM):
        place = make_place()
        world.prepare(place, step)
        act = Act.TERM if number % 2 else Act.KILL
        world.attempt(step, place, after=chance.uniform(0, seconds), signal=act)
        check_whole(place)
        finish(world, place, step)


def test_killed_over_and_over_until_it_ends(world: World, make_place: MakePlace) -> None:
    chance = random.Random(0)  # noqa: S311 - repeatable, not secret
    for step in STEPS:
        place = make_place()
        world.prepare(place, step)
        points = len(world.points(step, place))
        for _ in range(8):
            act = chance.choice([Act.KILL, Act.TERM])
            world.attempt(step, place, fault=Fault(act, chance.randint(points // 4, points)))
            check_whole(place)
        finish(world, place, step)


@pytest.mark.parametrize("step", ["delta", "recover"])
def test_the_installed_command_continues_after_sigterm(
    world: World, make_place: MakePlace, tmp_path: Path, step: str
) -> None:
    place = make_place()
    world.prepare(place, step)
    request = world.write_request(step, place, tmp_path / "request.json")

    def command(name: str) -> list[str]:
        folder = tmp_path / name
        return [
            *(str(CONSOLE_SCRIPT), "step", step, "--request", str(request), "--work", str(folder)),
            *("--termination-log", str(tmp_path / f"{name}.json")),
        ]

    with subprocess.Popen(command("first"), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if any(word in line for word in (": project: 1 of", ": recover: 1 of")):
                process.send_signal(signal.SIGTERM)
        assert process.wait() == ExitCode.STOPPED, "".join(seen)
    check_whole(place)
    done = subprocess.run(command("second"), capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert "continuing from checkpoint" in done.stderr
    world.check_equal(place, step)

"""`kubectl relora status -w`: what it prints while it waits, and how it ends."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from io import StringIO

import pytest
from rich.console import Console

from fleet.builders import make_release
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import ended, half_way
from relora_kubectl.cluster import Cluster, UnreachableError
from relora_kubectl.errors import ExitCode
from relora_kubectl.looks import BINDINGS_EVERY_SECONDS, StatusLook
from relora_kubectl.status import StatusView
from relora_kubectl.watch import FAILURES_IN_A_ROW, Follower, JsonLines, Lines, Screen, watch
from relora_operator.kube.errors import TemporaryError


class Film:
    """Shows one world after the other, and an outage where there is None."""

    def __init__(self, *worlds: World | None) -> None:
        self._worlds: Iterator[World | None] = iter(worlds)
        self._now: World = half_way()

    def clock(self) -> datetime:
        return self._now.now

    async def look(self, now: datetime) -> StatusView:
        world = next(self._worlds)
        shelf = Shelf.of(world or self._now)
        if world is None:
            shelf.failures["GET", "basemodelreleases"] = TemporaryError("no answer in time")
        return await StatusLook(Cluster(shelf, context="test", namespace="alpha"), "r2", "")(now)


async def end_of(film: Film, shown: Follower, *, must_promote: bool = True) -> ExitCode:
    return await watch(film.look, shown, clock=film.clock, interval_seconds=0, must_promote=must_promote)


async def test_one_line_is_printed_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    code = await end_of(Film(half_way(), half_way(), ended("beta")), Lines())
    lines = capsys.readouterr().out.splitlines()
    assert code is ExitCode.REFUSED
    assert [line.split()[1] for line in lines] == ["release", "server", "release", "server"]
    assert "release r2: InProgress; 0 pending, 1 queued, 2 running" in lines[0]
    assert "release r2: CompletedWithFailures" in lines[2]


async def test_a_server_that_came_along_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert await end_of(Film(half_way(), ended()), Lines()) is ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[-1].endswith("server serving/vllm: up to date")


async def test_each_change_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    await end_of(Film(half_way(), half_way(), ended()), JsonLines())
    views = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [view["releases"][0]["complete"] for view in views] == [False, True]


async def test_the_terminal_is_redrawn_and_keeps_the_last_view() -> None:
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=100, height=50)
    assert await end_of(Film(half_way(), ended()), Screen(console)) is ExitCode.DONE
    assert "\x1b[1A" in text.getvalue(), "the first view was not drawn over"
    assert "3 of 3 bindings promoted" in text.getvalue().rpartition("\x1b[2K")[2]


def superseded() -> World:
    return half_way().add(make_release("r3", "r2", minutes=600)).live_on()


def withdrawn() -> World:
    return half_way().add(make_release("r2", "r1", minutes=10, withdrawn=True)).live_on()


@pytest.mark.parametrize("story", [superseded, withdrawn])
@pytest.mark.parametrize(("must_promote", "code"), [(True, ExitCode.REFUSED), (False, ExitCode.DONE)])
async def test_a_release_that_is_waited_for_by_its_name_has_not_succeeded_when_it_gave_way(
    story: Callable[[], World],
    must_promote: bool,  # noqa: FBT001 - a case
    code: ExitCode,
) -> None:
    assert await end_of(Film(half_way(), story()), Lines(), must_promote=must_promote) is code


async def test_an_outage_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert await end_of(Film(*[None] * (FAILURES_IN_A_ROW - 1), ended()), Lines()) is ExitCode.DONE
    assert capsys.readouterr().err == ""


async def test_an_outage_that_does_not_end_ends_the_watch() -> None:
    with pytest.raises(UnreachableError, match="no answer in time"):
        await end_of(Film(*[None] * FAILURES_IN_A_ROW), Lines())


async def test_bindings_are_read_less_often_than_releases() -> None:
    world = half_way()
    shelf = Shelf.of(world)
    look = StatusLook(Cluster(shelf, context="test", namespace="alpha"), "r2", "")
    await look(world.now)
    await look(world.now)
    assert shelf.lists == 6
    await look(world.wait(seconds=BINDINGS_EVERY_SECONDS).now)
    assert shelf.lists == 10

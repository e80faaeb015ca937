"""Runs all selected scenarios at once: most of a scenario's time is spent waiting for the cluster."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import pytest

from devcluster.progress import Report, elapsed
from e2e.world import Stage, World

MARK = "scenario"
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Scenario:
    """A test that plays on a stage of its own.

    Attributes:
        stage_name: Names its model, releases and namespaces; from the test's marker.
        play: The test's function, with its parameters filled in.
    """

    stage_name: str
    play: Callable[[Stage], None]


class SideBySide:
    """The scenarios of a session, each in a thread of its own; a test hands over the outcome of its own.

    Args:
        scenarios: By the node ids of their tests.
        world: What they share.
        report: Takes a line for each that ends. It is called by the tests' thread only.
    """

    def __init__(self, scenarios: Mapping[str, Scenario], world: World, report: Report) -> None:
        self._report = report
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._pool = ThreadPoolExecutor(max(len(scenarios), 1), thread_name_prefix="scenario")
        self._outcomes: dict[str, Future[None]] = {
            name: self._pool.submit(_play, scenario, world, self._lines.put) for name, scenario in scenarios.items()
        }

    def outcome(self, name: str) -> None:
        """Wait until a scenario has ended, and raise what it raised."""
        self._wait([self._outcomes[name]])
        self._outcomes[name].result()

    def wait_for_all(self) -> None:
        """Wait until every scenario has ended, however it did."""
        self._wait(list(self._outcomes.values()))

    def close(self) -> None:
        """Wait for every scenario."""
        self._pool.shutdown()

    def _wait(self, outcomes: Sequence[Future[None]]) -> None:
        while wait(outcomes, timeout=_REPORT_SECONDS).not_done:
            self._tell()
        self._tell()

    def _tell(self) -> None:
        while not self._lines.empty():
            self._report(self._lines.get())


def selected(items: Sequence[pytest.Item]) -> dict[str, Scenario]:
    """Return the scenarios among a session's tests by their node ids.

    Raises:
        ValueError: Two scenarios have the same stage.
    """
    found: dict[str, Scenario] = {}
    for item in items:
        marker = item.get_closest_marker(MARK)
        if marker is None or not isinstance(item, pytest.Function):
            continue
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        found[item.nodeid] = Scenario(marker.args[0], partial(item.obj, **parameters))
    names = [scenario.stage_name for scenario in found.values()]
    if len(set(names)) < len(names):
        raise ValueError(f"two scenarios have the same stage: {sorted(names)}")
    return found


def _play(scenario: Scenario, world: World, report: Report) -> None:
    stage = world.stage(scenario.stage_name)
    started = time.monotonic()
    try:
        scenario.play(stage)
        stage.clear()
    except BaseException as error:
        report(f"{stage.name}: failed after {elapsed(time.monotonic() - started)}: {error!s:.300}")
        error.add_note(stage.diagnosis())
        raise
    else:
        report(f"{stage.name}: passed after {elapsed(time.monotonic() - started)}")
    finally:
        stage.close()

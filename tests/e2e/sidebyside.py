"""Runs all selected scenarios at once: most of a scenario's time is spent waiting for the cluster."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from e2e.world import Stage, World

MARK = "scenario"


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
    """The scenarios of a session, each in a thread of its own; a test hands over the outcome of its own."""

    def __init__(self, scenarios: Mapping[str, Scenario], world: World) -> None:
        self._pool = ThreadPoolExecutor(max(len(scenarios), 1), thread_name_prefix="scenario")
        self._outcomes: dict[str, Future[None]] = {
            name: self._pool.submit(_play, scenario, world) for name, scenario in scenarios.items()
        }

    def outcome(self, name: str) -> None:
        """Wait until a scenario has ended, and raise what it raised."""
        self._outcomes[name].result()

    def close(self) -> None:
        """Wait for every scenario."""
        self._pool.shutdown()


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


def _play(scenario: Scenario, world: World) -> None:
    stage = world.stage(scenario.stage_name)
    try:
        scenario.play(stage)
    except BaseException as error:
        error.add_note(stage.diagnosis())
        raise
    finally:
        stage.close()

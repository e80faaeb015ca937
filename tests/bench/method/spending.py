"""How many times as long one variant took as another, over tasks and updates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bench.method.cells import Cell
from bench.method.cellset import Pair, Pairs, Place, by_task, on_one_processor
from bench.method.resampling import ratio_over_tasks
from bench.results import Row, measured


@dataclass(frozen=True)
class Taken:
    """Seconds of the two cells of a pair."""

    mine: float
    theirs: float


Times: TypeAlias = Mapping[Place, Sequence[Taken]]
"""By place, for each seed."""


def of_all_steps(pairs: Pairs) -> Times:
    """Return the seconds of all steps, where they can be compared."""
    return _times(pairs, lambda cell: cell.seconds)


def until_ready(pairs: Pairs, sharing: int = 1) -> Times:
    """Return the seconds to readiness of the pairs in which both got ready, where they can be compared.

    A time that was cut off at the end of the training is no time to readiness, so such pairs are counted, not timed.

    Args:
        pairs: Of the two variants.
        sharing: Adapters that share the delta of a pair of bases, and so its seconds.
    """

    def seconds(cell: Cell) -> float | None:
        found = cell.seconds_to_readiness
        return None if found is None else found - cell.seconds_of_delta * (1 - 1 / sharing)

    return _times(pairs, seconds)


def ratio_row(name: str, times: Times) -> Row:
    """Return theirs ÷ mine: the means over the seeds of each task and update, summed over these; none without times."""
    if not times:
        return measured(name, None, "×")
    values = {place: np.array([(each.mine, each.theirs) for each in seeds]) for place, seeds in times.items()}
    found = ratio_over_tasks(list(by_task(values).values()))
    return measured(name, found.value, "×", found.ends)


def pairs_and_tasks(times: Times) -> tuple[int, int]:
    """Return how many pairs there are, and of how many tasks."""
    return sum(map(len, times.values())), len(by_task(times))


def _times(pairs: Pairs, seconds: Callable[[Cell], float | None]) -> Times:
    found = {place: _taken(seeds, seconds) for place, seeds in on_one_processor(pairs).items()}
    return {place: times for place, times in found.items() if times}


def _taken(pairs: Sequence[Pair], seconds: Callable[[Cell], float | None]) -> list[Taken]:
    both = [(seconds(mine), seconds(theirs)) for mine, theirs in pairs]
    return [Taken(mine, theirs) for mine, theirs in both if mine is not None and theirs is not None]

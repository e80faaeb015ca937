"""Intervals over tasks and seeds by the bootstrap: tasks first, then seeds within them (Davison & Hinkley, 1997, §3.8).

A task's seeds share its data and its adapters, so they are no independent repetitions; tasks are.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

RESAMPLES = 4_000
TAIL = 0.025
T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """A statistic with the 2.5th and 97.5th percentile of its bootstrap distribution."""

    value: float
    low: float
    high: float


def over_tasks_and_seeds(groups: Sequence[Sequence[T]], statistic: Callable[[Sequence[T]], float]) -> Interval:
    """Return a statistic of all values, and its interval.

    Args:
        groups: One for each task, with a value for each seed.
        statistic: Of values of any number.
    """
    draw = random.Random(0)  # noqa: S311 # resampling, not a secret
    found = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(groups, k=len(groups))
        found.append(statistic([value for group in chosen for value in draw.choices(group, k=len(group))]))
    ordered = sorted(found)
    cut = round(TAIL * RESAMPLES)
    return Interval(statistic([value for group in groups for value in group]), ordered[cut], ordered[-cut - 1])

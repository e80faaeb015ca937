"""Intervals over tasks and seeds by the bootstrap: tasks first, then seeds within them (Davison & Hinkley, 1997, §3.8).

A task's seeds and updates share its data and its adapter, so they are no independent repetitions; tasks are.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.method.intervals import TAIL, Estimate

RESAMPLES = 4_000
Values: TypeAlias = NDArray[np.float64]
"""`(seeds, 2)`: for each seed what is divided by, and what is divided."""


def ratio_over_tasks(tasks: Sequence[Sequence[Values]]) -> Estimate:
    """Return a ratio of sums, and the 2.5th and 97.5th percentile of its bootstrap distribution.

    What is summed are the means over the seeds of each update: each has the same weight, however many seeds it has. A
    task is drawn with all of its updates, and for each of them as many seeds as there are. One task has no interval.

    Args:
        tasks: For each task the values of its updates.
    """
    divisor, dividend = np.sum([seeds.mean(axis=0) for updates in tasks for seeds in updates], axis=0)
    value = float(dividend / divisor)
    if len(tasks) == 1:
        return Estimate(value)
    draw = np.random.default_rng(0)
    drawn = (RESAMPLES, len(tasks))
    chosen = draw.integers(len(tasks), size=drawn)
    sums = np.zeros((*drawn, 2))
    for number, updates in enumerate(tasks):
        for seeds in updates:
            means = seeds[draw.integers(len(seeds), size=(*drawn, len(seeds)))].mean(axis=2)
            sums += np.where((chosen == number)[..., None], means, 0)
    divisors, dividends = sums.sum(axis=1).T
    ratios = np.sort(dividends / divisors)
    cut = round(TAIL * RESAMPLES)
    return Estimate(value, (float(ratios[cut]), float(ratios[-cut - 1])))

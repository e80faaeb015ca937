"""Values with 95 % intervals: shares, and means over tasks."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

from bench.results import Ends

Z = 1.96
TAIL = 0.025
"""What an interval leaves out on either side."""


@dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its interval where it has one."""

    value: float
    ends: Ends | None = None


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values, one a task, with Student's interval of n − 1 degrees of freedom.

    What differs from task to task is in it, and so is the noise of training, which each task's value holds. A single
    value has no interval.
    """
    value = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(value)
    half = float(t.isf(TAIL, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(value, (value - half, value + half))


def share(outcomes: Sequence[float]) -> Estimate:
    """Return a share in percent with Wilson's interval.

    Args:
        outcomes: Each between 0 and 1; what lies between is an average over seeds.
    """
    n, found = len(outcomes), statistics.fmean(outcomes)
    middle = (found + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(found * (1 - found) / n + Z**2 / (4 * n**2))
    return Estimate(100 * found, (100 * max(0.0, middle - half), 100 * min(1.0, middle + half)))

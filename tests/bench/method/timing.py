"""Two sides measured in turns, so that whatever else the machine does meets both."""

import statistics
import time
from collections.abc import Callable, Sequence

from scipy.stats import binom

from bench.method.intervals import TAIL, Estimate
from bench.results import Row, at_least, measured


def spread(values: Sequence[float]) -> Estimate:
    """Return the median of `values` and its interval: at 95 % from six values on, the whole range of fewer.

    It assumes no distribution. Its ends are order statistics: the k-th smallest and the k-th largest value, where k is
    the largest number with P(Bin(n, ½) < k) ≤ 2.5 %. A single value has none.
    """
    ordered = sorted(values)
    k = max(int(binom.ppf(TAIL, len(ordered), 0.5)), 1)
    return Estimate(statistics.median(ordered), (ordered[k - 1], ordered[-k]) if len(ordered) > 1 else None)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int) -> list[float]:
    """Return how many times longer `theirs` takes than `ours`, once per round; each was called once before."""
    ours()
    theirs()
    return [seconds(theirs) / seconds(ours) for _ in range(rounds)]


def reaches(name: str, values: Sequence[float], limit: float, unit: str = "×") -> Row:
    """Return a row with the median of `values`, whose interval must reach `limit`."""
    found = spread(values)
    return at_least(name, found.value, limit, unit, found.ends)


def observed(name: str, values: Sequence[float], unit: str = "") -> Row:
    """Return a row with the median of `values` and without a target."""
    found = spread(values)
    return measured(name, found.value, unit, found.ends)

"""Two sides measured in turns, so that whatever else the machine does meets both."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.stats import binom

from bench.results import Row, at_least, measured

_TAIL = 0.025


@dataclass(frozen=True)
class Spread:
    """A median and its interval: distribution-free at 95 % from six values on, the whole range for fewer."""

    value: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median of `values` and its interval.

    The interval's ends are order statistics: the k-th smallest and the k-th largest value, where k is the largest
    number with P(Bin(n, ½) < k) ≤ 2.5 %.
    """
    ordered = sorted(values)
    k = max(int(binom.ppf(_TAIL, len(ordered), 0.5)), 1)
    return Spread(statistics.median(ordered), ordered[k - 1], ordered[-k])


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
    """Return a row whose median must reach `limit`."""
    return with_interval(at_least(name, statistics.median(values), limit, unit), values)


def observed(name: str, values: Sequence[float], unit: str) -> Row:
    """Return a row without a target."""
    return with_interval(measured(name, statistics.median(values), unit), values)


def with_interval(row: Row, values: Sequence[float]) -> Row:
    """Return the row with the interval of the values behind it; a single value has none."""
    found = spread(values)
    return row.model_copy(update={"low": found.low, "high": found.high}) if len(values) > 1 else row

"""What the final adapters do on the test examples: shares of right answers, and differences between two variants."""

import math
import statistics
from collections.abc import Sequence

from bench.method.cells import Cell
from bench.method.cellset import Pair
from bench.method.intervals import Estimate, Z


def correct_on_average(cells: Sequence[Cell]) -> list[float]:
    """Return for each example how many of the cells, which have other seeds, were right: a share.

    It is the examples that are independent of each other, not the seeds' answers to the same one.

    Raises:
        ValueError: The cells did not answer the same examples.
    """
    _check_same(cells)
    return [statistics.fmean(same) for same in zip(*(cell.answers.outcomes for cell in cells), strict=True)]


def accuracy_difference(pairs: Sequence[Pair]) -> Estimate:
    """Return the difference of the accuracies of two variants on one task, in points, over all seeds.

    Its squared standard error has two parts: that over the test examples, of the differences that are paired by example
    and averaged over the seeds; and the variance of the seeds' mean differences over their number, which is the noise
    of training. A single seed tells nothing of that one: the interval is then of the examples alone.

    Args:
        pairs: A pair of cells for each seed.

    Raises:
        ValueError: The cells did not answer the same examples.
    """
    _check_same([cell for pair in pairs for cell in pair])
    by_seed = [
        [100.0 * (a - b) for a, b in zip(mine.answers.outcomes, theirs.answers.outcomes, strict=True)]
        for mine, theirs in pairs
    ]
    by_example = [statistics.fmean(same) for same in zip(*by_seed, strict=True)]
    of_examples = statistics.stdev(by_example) / math.sqrt(len(by_example))
    means = [statistics.fmean(differences) for differences in by_seed]
    of_seeds = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    value, half = statistics.fmean(by_example), Z * math.hypot(of_examples, of_seeds)
    return Estimate(value, (value - half, value + half))


def loss_difference(pairs: Sequence[Pair]) -> float:
    """Return the mean difference of the losses of two variants on one task, in nats per completion token.

    Raises:
        ValueError: The cells did not answer the same examples.
    """
    _check_same([cell for pair in pairs for cell in pair])
    tokens = sum(pairs[0][0].answers.tokens)
    return statistics.fmean(sum(mine.answers.nll) - sum(theirs.answers.nll) for mine, theirs in pairs) / tokens


def _check_same(cells: Sequence[Cell]) -> None:
    if len({cell.answers.examples for cell in cells}) > 1:
        raise ValueError("the answers are not to the same examples")

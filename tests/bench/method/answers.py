"""Shares and paired differences over test examples, with their intervals."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.method.cells import Answers, Cell
from bench.method.cellset import Pair
from bench.results import Row, measured
from relora_trainer.paired import paired_difference

Z = 1.96


@dataclass(frozen=True)
class Averages:
    """What the adapters of all seeds did on the test examples, on average: `Answers` with shares of right ones."""

    examples: str
    correct: list[float]
    nll: list[float]
    tokens: list[int]


@dataclass(frozen=True)
class Difference:
    """A paired difference with its standard error over the test examples."""

    value: float
    standard_error: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - Z * self.standard_error

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + Z * self.standard_error


def over_seeds(answers: Sequence[Answers]) -> Averages:
    """Return the averages over seeds by example: it is the examples that are independent, not the seeds' answers.

    Raises:
        ValueError: The seeds did not answer the same examples.
    """
    first, *_ = answers
    for other in answers:
        _check_same(first, other)
    correct = [statistics.mean(same) for same in zip(*(each.outcomes for each in answers), strict=True)]
    nll = [statistics.mean(same) for same in zip(*(each.nll for each in answers), strict=True)]
    return Averages(first.examples, correct, nll, first.tokens)


def points(mine: Averages, theirs: Averages) -> Difference:
    """Return the paired difference of two accuracies, in points.

    Raises:
        ValueError: The two did not answer the same examples.
    """
    _check_same(mine, theirs)
    differences = [100.0 * (a - b) for a, b in zip(mine.correct, theirs.correct, strict=True)]
    return Difference(statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences)))


def _check_same(one: Answers | Averages, other: Answers | Averages) -> None:
    if one.examples != other.examples:
        raise ValueError("the answers are not to the same examples")


def accuracy_difference(pairs: Sequence[Pair]) -> Difference:
    """Return the difference in points between the final adapters of two variants on one task, over all seeds."""
    mine, theirs = _averages(pairs)
    return points(mine, theirs)


def loss_difference(pairs: Sequence[Pair]) -> Difference:
    """Return the difference in nats per completion token of the same."""
    mine, theirs = _averages(pairs)
    found = paired_difference(mine.nll, theirs.nll, mine.tokens)
    return Difference(found.value, found.standard_error)


def _averages(pairs: Sequence[Pair]) -> tuple[Averages, Averages]:
    mine, theirs = zip(*pairs, strict=True)
    return averages(mine), averages(theirs)


def averages(cells: Sequence[Cell]) -> Averages:
    """Return the final answers of cells of one task with all seeds."""
    return over_seeds([cell.answers for cell in cells])


def mean_of(differences: Sequence[Difference]) -> Difference:
    """Return the mean over tasks, whose test examples are independent of each other."""
    total = math.sqrt(sum(each.standard_error**2 for each in differences))
    return Difference(statistics.mean(each.value for each in differences), total / len(differences))


def difference_row(name: str, found: Difference, unit: str) -> Row:
    """Return a row with a difference and its interval."""
    return measured(name, found.value, unit).model_copy(update={"low": found.low, "high": found.high})


def share_row(name: str, outcomes: Sequence[float]) -> Row:
    """Return a row with a share in percent and Wilson's interval."""
    n, share = len(outcomes), statistics.mean(outcomes)
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    ends = {"low": 100 * max(0.0, middle - half), "high": 100 * min(1.0, middle + half)}
    return measured(name, 100 * share, "%").model_copy(update=ends)

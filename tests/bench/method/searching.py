"""Rows about the search of (α, β): what it costs in full probes, and what it finds beside the paper's and a grid."""

import statistics
from collections.abc import Iterator, Sequence

from bench.method.answers import Difference, mean_of
from bench.method.cells import Cell, Found
from bench.method.cellset import CellSet, Pair
from bench.method.searchers import GRID, PAPER
from bench.method.timing import with_interval
from bench.method.variants import RELORA
from bench.results import Row, at_most, measured
from relora_trainer.paired import paired_difference

_PROBES = 6
_STANDARD_ERRORS = 1


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the cost of each search, then what ours loses against the others, in standard errors of the difference."""
    if ours := cells.of(RELORA):
        costs = [full_probes(cell) for cell in ours]
        row = at_most(f"search, full-probe equivalents, {len(ours)} searches", statistics.mean(costs), _PROBES)
        yield with_interval(row, costs)
        gains = [_gain(cell) for cell in ours]
        name = "search, loss of (0, 1) − loss of the best pair, on its own examples"
        yield with_interval(measured(name, statistics.median(gains), "nats/token"), gains)
    for name in (PAPER, GRID):
        if groups := cells.pairs(RELORA, name):
            theirs = [pair[1] for group in groups for pair in group]
            costs = [full_probes(cell) for cell in theirs]
            yield with_interval(measured(f"{name}, full-probe equivalents", statistics.mean(costs)), costs)
            seconds = [_seconds(b) / _seconds(a) for group in groups for a, b in group]
            yield with_interval(measured(f"{name} ÷ search, seconds", statistics.median(seconds), "×"), seconds)
            yield _excess(name, groups)


def full_probes(cell: Cell) -> float:
    """Return what a search cost, in probes of all its examples."""
    probes = [probe for report in cell.reports for probe in report.probes]
    return sum(probe.count for probe in probes) / max(probe.count for probe in probes)


def _seconds(cell: Cell) -> float:
    return sum(float(report.seconds.search) for report in cell.reports)


def _gain(cell: Cell) -> float:
    probes = [probe for report in cell.reports for probe in report.probes]
    full = [float(probe.loss) for probe in probes if probe.count == probes[0].count]
    return full[0] - min(full)


def _excess(name: str, groups: Sequence[Sequence[Pair]]) -> Row:
    """Return the loss at our pair above that at theirs: the mean over tasks, and its range, in standard errors."""
    differences = [_difference(group) for group in groups]
    mean = mean_of(differences)
    title = f"loss at the pair found, ours − {name}'s, in standard errors, {len(groups)} tasks"
    row = at_most(title, _ratio(mean), _STANDARD_ERRORS, "SE")
    return with_interval(row, [_ratio(each) for each in differences])


def _ratio(difference: Difference) -> float:
    return difference.value / difference.standard_error if difference.standard_error else 0.0


def _difference(group: Sequence[Pair]) -> Difference:
    """Return the paired difference on the search's examples, in nats per token, after averaging over the seeds."""
    mine, theirs = (_losses([pair[side] for pair in group]) for side in (0, 1))
    found = paired_difference(mine, theirs, _found(group[0][0]).tokens)
    return Difference(found.value, found.standard_error)


def _losses(cells: Sequence[Cell]) -> list[float]:
    return [statistics.mean(nll) for nll in zip(*(_found(cell).nll for cell in cells), strict=True)]


def _found(cell: Cell) -> Found:
    if cell.found is None:
        raise ValueError(f"{cell.recipe.variant} has searched nothing")
    return cell.found

"""Rows about the search of (α, β): what it costs in full probes, and what it finds beside the paper's and a grid."""

import statistics
from collections.abc import Iterator, Sequence

from bench.method.cells import Cell, Found
from bench.method.cellset import CellSet, Pair, Pairs, Place
from bench.method.intervals import mean, share
from bench.method.searchers import GRID, PAPER
from bench.method.timing import observed
from bench.method.variants import RELORA, until_ready
from bench.method.wording import counted
from bench.results import Row, at_most, measured
from relora_contract.report import Step
from relora_contract.task import Metric
from relora_trainer.paired import Estimate, paired_difference
from relora_trainer.search import PORT

_PROBES = 6
_STANDARD_ERRORS = 1


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the cost of the searches, what they are used for, and what ours loses against the others."""
    if ours := _different(cells, RELORA, until_ready(RELORA)):
        costs = [full_probes(cell) for searches in ours.values() for cell in searches]
        yield _worst(cost_name(), counted(len(costs), "different search"), costs, _PROBES)
    for update in cells.updates:
        yield from _use(cells.on(update=update), update)
    for name in (PAPER, GRID):
        if pairs := cells.pairs(RELORA, name):
            yield from _against(name, pairs)


def cost_name() -> str:
    """Return how the name of the row with the cost of the search begins."""
    return "search, full-probe equivalents, the most of "


def excess_name(other: str) -> str:
    """Return how the name of the row with the loss above that of another search begins."""
    return f"loss at the pair found, ours − {other}'s, in standard errors, the worst of "


def full_probes(cell: Cell) -> float:
    """Return what a search cost, in probes of all its examples."""
    return sum(probe.count for probe in cell.probes) / max(probe.count for probe in cell.probes)


def _different(cells: CellSet, *variants: str) -> dict[Place, list[Cell]]:
    """Return a cell of each search: one that made the same probes of the same adapter with another seed is the same."""
    found: dict[Place, dict[tuple[tuple[str, str, int], ...], Cell]] = {}
    for variant in variants:
        for place, seeds in cells.places(variant).items():
            for cell in seeds.values():
                if cell.probes:
                    points = tuple((probe.alpha, probe.beta, probe.count) for probe in cell.probes)
                    found.setdefault(place, {}).setdefault(points, cell)
    return {place: list(searches.values()) for place, searches in found.items()}


def _worst(begin: str, of_what: str, values: Sequence[float], limit: float, unit: str = "") -> Row:
    """Return a row whose highest value must not exceed a limit; beside it stands their range, which is no interval."""
    row = at_most(f"{begin}{of_what}", max(values), limit, unit)
    return row.model_copy(update={"low": min(values), "high": max(values)}) if len(values) > 1 else row


def _use(cells: CellSet, update: str) -> Iterator[Row]:
    """Yield how often the pair that was found took the place of (0, 1), and what that was worth."""
    places = _different(cells, RELORA)
    if not places:
        return
    searches = [cell for found in places.values() for cell in found]
    begin, count = f"{update} update: search", counted(len(searches), "search")
    for what, outcomes in (
        ("the pair found is used", [_is_used(cell) for cell in searches]),
        ("α > 0 in the best full probe", [_found(cell).alpha > 0 for cell in searches]),
    ):
        found = share(outcomes)
        yield measured(f"{begin}, {what}, {count}", found.value, "%", found.ends)
    gains = [statistics.fmean(map(_accuracy_gained, found)) for found in places.values()]
    gain = mean(gains)
    title = f"{begin}, accuracy after fuse − after port, {counted(len(gains), 'task')}"
    yield measured(title, gain.value, "points", gain.ends)
    title = f"{begin}, loss of (0, 1) − loss of the best pair, on its own examples, {count}"
    yield observed(title, [_loss_gained(cell) for cell in searches], "nats/token")


def _is_used(cell: Cell) -> bool:
    fuse = cell.report("fuse")
    if fuse is None or fuse.alpha is None or fuse.beta is None:
        raise ValueError(f"{cell.recipe.variant} has fused no pair for all modules")
    return (float(fuse.alpha), float(fuse.beta)) != PORT


def _accuracy_gained(cell: Cell) -> float:
    """Return the difference on the gate's examples, in points; without a used pair the adapter is still the old one."""
    return _accuracy(cell, "fuse") - _accuracy(cell, "port") if _is_used(cell) else 0.0


def _accuracy(cell: Cell, step: Step) -> float:
    report = cell.report(step)
    found = [quality.value for quality in report.quality if quality.metric is Metric.ACCURACY] if report else []
    if not found:
        raise ValueError(f"{cell.recipe.variant} has no accuracy after {step}")
    return 100 * float(found[0])


def _loss_gained(cell: Cell) -> float:
    full = [float(probe.loss) for probe in cell.probes if probe.count == cell.probes[0].count]
    return full[0] - min(full)


def _against(name: str, pairs: Pairs) -> Iterator[Row]:
    """Yield what another search costs, and the loss at our pair above that at its own."""
    theirs = [pair[1] for seeds in pairs.values() for pair in seeds]
    yield observed(
        f"{name}, full-probe equivalents, {counted(len(theirs), 'search')}", [full_probes(cell) for cell in theirs]
    )
    differences = [_difference(seeds) for seeds in pairs.values()]
    tasks = counted(len(differences), "task")
    yield _worst(excess_name(name), tasks, list(map(_ratio, differences)), _STANDARD_ERRORS, "SE")
    excess = mean([each.value for each in differences])
    yield measured(f"loss at the pair found, ours − {name}'s, mean of {tasks}", excess.value, "nats/token", excess.ends)


def _ratio(difference: Estimate) -> float:
    return difference.value / difference.standard_error if difference.standard_error else 0.0


def _difference(pairs: Sequence[Pair]) -> Estimate:
    """Return the paired difference on the search's examples, in nats per token, after averaging over the seeds."""
    mine, theirs = (_losses([pair[side] for pair in pairs]) for side in (0, 1))
    return paired_difference(mine, theirs, _found(pairs[0][0]).tokens)


def _losses(cells: Sequence[Cell]) -> list[float]:
    return [statistics.fmean(nll) for nll in zip(*(_found(cell).nll for cell in cells), strict=True)]


def _found(cell: Cell) -> Found:
    if cell.found is None:
        raise ValueError(f"{cell.recipe.variant} has searched nothing")
    return cell.found

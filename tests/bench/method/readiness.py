"""Rows about the time to readiness: how long each strategy takes to its gate, and how often the old adapter passes.

They are made twice: of the cells that end when they are ready, as a binding does by default, and of those that run
every step to its end, where an adapter can be ready at the ends of steps only. Targets are for the former.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.method import spending
from bench.method.cells import Cell
from bench.method.cellset import CellSet, Pair, Pairs, on_one_processor
from bench.method.intervals import share
from bench.method.timing import observed
from bench.method.variants import FINE_TUNE, PORT, RELORA, SCRATCH, STRATEGIES, until_ready
from bench.method.wording import counted
from bench.results import Row, at_most, decided, measured

FASTER = {SCRATCH: 5.0, FINE_TUNE: 1.5}


@dataclass(frozen=True)
class Kind:
    """How the cells of a comparison end.

    Attributes:
        variant: Returns the variant of a strategy.
        note: What the names of the rows say of it.
    """

    variant: Callable[[str], str]
    note: str


UNTIL_READY = Kind(until_ready, "")
TO_THE_END = Kind(str, ", at the ends of steps")


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the ratios over all updates and over each, and the seconds of each strategy on each task."""
    for kind in (UNTIL_READY, TO_THE_END):
        for name in FASTER:
            yield from _compared(cells, kind, name)
    yield from _slower(cells)
    for update in cells.updates:
        if ported := cells.on(update=update).of(PORT):
            yield _share(f"{ported_name(update)}, {counted(len(ported), 'adapter')}", ported)
    for kind in (UNTIL_READY, TO_THE_END):
        for update in cells.updates:
            for task in cells.tasks:
                for name in STRATEGIES:
                    if found := cells.on(update=update, task=task).of(kind.variant(name)):
                        yield from _seconds(seconds_name(task, update, name, kind), found)


def ratio_name(variant: str, update: str | None = None, kind: Kind = UNTIL_READY) -> str:
    """Return how the name of the row of a strategy's ratio on one update, or on all, begins."""
    return f"{_on(update)}time to readiness, {variant} ÷ ReLoRA{kind.note}, both ready "


def alone_name(ready: str, other: str, kind: Kind = UNTIL_READY) -> str:
    """Return how the name of the row with the number of pairs in which one strategy alone got ready begins."""
    return f"ready: {ready} alone, not {other}{kind.note}, of "


def slower_name() -> str:
    """Return how the name of the row with the tasks and updates on which ReLoRA was slower begins."""
    return f"ReLoRA slower than {FINE_TUNE} with every seed, "


def ported_name(update: str) -> str:
    """Return how the name of the row with the share of adapters that pass unchanged begins."""
    return f"{_on(update)}PortLLM alone passes its gate"


def seconds_name(task: str, update: str, variant: str, kind: Kind = UNTIL_READY) -> str:
    """Return the name of the row with the seconds of a strategy."""
    return f"{task}, {_on(update)}seconds until ready{kind.note}, {variant}"


def _on(update: str | None) -> str:
    return "" if update is None else f"{update} update: "


def _compared(cells: CellSet, kind: Kind, name: str) -> Iterator[Row]:
    """Yield how many times as long a strategy takes as ReLoRA, and how often only one of the two got ready."""
    pairs = _pairs(cells, kind, name)
    if not pairs:
        return
    row = _ratio(ratio_name(name, kind=kind), pairs)
    yield _with_target(row, FASTER[name]) if kind is UNTIL_READY else row
    flat = [pair for seeds in pairs.values() for pair in seeds]
    for title, mine in ((alone_name(RELORA, name, kind), True), (alone_name(name, RELORA, kind), False)):
        alone = sum((a.ready, b.ready) == (mine, not mine) for a, b in flat)
        yield measured(f"{title}{counted(len(flat), 'pair')}", alone)
    adapters = len(cells.tasks)
    shared = f", the delta shared by {counted(adapters, 'adapter')}"
    yield _ratio(ratio_name(name, kind=kind), pairs, shared, sharing=adapters)
    for update in cells.updates:
        if on_update := _pairs(cells.on(update=update), kind, name):
            yield _ratio(ratio_name(name, update, kind), on_update)


def _pairs(cells: CellSet, kind: Kind, name: str) -> Pairs:
    return on_one_processor(cells.pairs(kind.variant(RELORA), kind.variant(name)))


def _ratio(begin: str, pairs: Pairs, note: str = "", *, sharing: int = 1) -> Row:
    times = spending.until_ready(pairs, sharing)
    both, tasks = spending.pairs_and_tasks(times)
    of_all = counted(sum(map(len, pairs.values())), "pair")
    return spending.ratio_row(f"{begin}in {both} of {of_all}, {counted(tasks, 'task')}{note}", times)


def _with_target(row: Row, faster: float) -> Row:
    """Return the row with its target. Where no pair got ready on both sides there is no ratio, and nothing decided."""
    judged = decided(row, f"≥ {faster:g}", lambda found: found >= faster)
    return judged if row.value is not None else judged.model_copy(update={"met": None})


def _slower(cells: CellSet) -> Iterator[Row]:
    """Yield on how many tasks and updates ReLoRA took longer than plain fine-tuning with every seed.

    A pair tells which of the two is slower when both got ready, or one alone; a place where the other side never got
    ready is not counted, for nothing there could speak against ReLoRA.
    """
    places = _pairs(cells, UNTIL_READY, FINE_TUNE).values()
    if telling := [seeds for seeds in places if any(theirs.ready for _, theirs in seeds)]:
        slower = sum(all(map(_is_slower, filter(_tells, seeds))) for seeds in telling)
        yield at_most(f"{slower_name()}of {len(telling)} tasks and updates", slower, 0)


def _tells(pair: Pair) -> bool:
    return any(cell.ready for cell in pair)


def _is_slower(pair: Pair) -> bool:
    mine, theirs = (cell.seconds_to_readiness for cell in pair)
    return theirs is not None and (mine is None or theirs < mine)


def _seconds(title: str, found: Sequence[Cell]) -> Iterator[Row]:
    """Yield the median of those that got ready, and how many did; a time that was cut off says nothing of the rest."""
    seconds = [each for cell in found if (each := cell.seconds_to_readiness) is not None]
    steps = [each for cell in found if (each := cell.steps_to_readiness) is not None]
    yield observed(title, seconds, "s") if seconds else measured(title, None, "s")
    yield _share(f"{title}: ready, {counted(len(found), 'seed')}", found)
    if steps:
        yield measured(f"{title}: optimizer steps", statistics.median(steps), "steps")


def _share(name: str, cells: Sequence[Cell]) -> Row:
    found = share([cell.ready for cell in cells])
    return measured(name, found.value, "%", found.ends)

"""Rows about the parts of ReLoRA: with all of them as they are, against with one of them changed.

Accuracy and loss are differences, ReLoRA's minus those without the part: it is worth its place where accuracy is above
0, or loss below 0. Ablations are measured hours after ReLoRA, and a machine's speed changes meanwhile. So their seconds
are not compared with ReLoRA's, but with those of their own training, which is as long for all of them.
"""

from collections.abc import Iterator
from statistics import fmean

from bench.method.answers import accuracy_difference, loss_difference
from bench.method.cells import Cell
from bench.method.cellset import CellSet, Pairs, by_task
from bench.method.intervals import mean
from bench.method.variants import ABLATIONS, RELORA
from bench.method.wording import counted
from bench.results import Row, measured


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the mean differences over the tasks of the final adapters, and what each kind of search costs."""
    yield from _cost(cells, RELORA)
    for name in ABLATIONS:
        if pairs := cells.pairs(RELORA, name):
            on = _of_what(pairs)
            accuracy = mean([accuracy_difference(seeds).value for seeds in pairs.values()])
            yield measured(f"{accuracy_name(name)}, {on}", accuracy.value, "points", accuracy.ends)
            loss = mean([loss_difference(seeds) for seeds in pairs.values()])
            yield measured(f"{loss_name(name)}, {on}", loss.value, "nats/token", loss.ends)
            yield from _cost(cells, name)


def accuracy_name(variant: str) -> str:
    """Return how the name of the row with the difference in accuracy begins."""
    return f"final accuracy, ReLoRA − ReLoRA with {variant}"


def loss_name(variant: str) -> str:
    """Return how the name of the row with the difference in loss begins."""
    return f"final loss, ReLoRA − ReLoRA with {variant}"


def _cost(cells: CellSet, name: str) -> Iterator[Row]:
    """Yield the seconds of the search against those of the training: the mean over tasks, of each over its cells."""
    shares = [
        fmean(fmean(map(_share, seeds.values())) for seeds in updates)
        for updates in by_task(cells.places(name)).values()
    ]
    if any(shares):
        found = mean(shares)
        title = f"seconds of the search against those of the training, {_who(name)}, {counted(len(shares), 'task')}"
        yield measured(title, found.value, "%", found.ends)


def _share(cell: Cell) -> float:
    """Return the ratio of one cell in percent; 0 of one that ended before it trained."""
    seconds = cell.seconds_by_part
    return 100 * seconds["search"] / seconds["train"] if seconds["train"] else 0.0


def _who(name: str) -> str:
    return name if name == RELORA else f"{RELORA} with {name}"


def _of_what(pairs: Pairs) -> str:
    """Say of how many tasks, on which updates, and of how many seeds."""
    updates = " and ".join(sorted({place.update for place in pairs}))
    tasks = counted(len({place.task for place in pairs}), "task")
    return f"{tasks}, {updates} update, {counted(max(map(len, pairs.values())), 'seed')} each"

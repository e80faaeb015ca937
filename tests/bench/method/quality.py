"""Rows about final quality: every strategy to its end, on the test examples of each task."""

from collections.abc import Iterator, Sequence

from bench.method.answers import accuracy_difference, correct_on_average
from bench.method.cellset import CellSet, Pair, Pairs
from bench.method.intervals import mean, share
from bench.method.variants import FINE_TUNE, RELORA, SCRATCH, STRATEGIES
from bench.method.wording import counted
from bench.results import Row, at_least, decided, measured

MARGIN = -0.5
"""Points of accuracy that ReLoRA may lose on a task."""
OTHERS = (FINE_TUNE, SCRATCH)


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the accuracies and their differences by task and update, and the mean differences over the tasks."""
    for update in cells.updates:
        for task in cells.tasks:
            yield from _of_task(cells.on(update=update, task=task), task, update)
        for name in OTHERS:
            if pairs := cells.on(update=update).pairs(RELORA, name):
                yield _mean(mean_name(update, name), pairs)


def difference_name(task: str, update: str, variant: str) -> str:
    """Return how the name of the row with ReLoRA's difference to a strategy begins."""
    return f"{task}, {update} update: {difference_of(variant)}"


def difference_of(variant: str) -> str:
    """Return what those names have in common on all tasks and updates."""
    return f"final accuracy, ReLoRA − {variant}, "


def mean_name(update: str, variant: str) -> str:
    """Return how the name of the row with the mean difference begins."""
    return f"{update} update: mean final accuracy, ReLoRA − {variant}, "


def _of_task(cells: CellSet, task: str, update: str) -> Iterator[Row]:
    if ours := cells.of(RELORA):
        title = f"{task}, {update} update: accuracy of the old adapter on its own base"
        reference = share(ours[0].reference.outcomes)
        yield measured(title, reference.value, "%", reference.ends)
    for name in STRATEGIES:
        if found := cells.of(name):
            accuracy = share(correct_on_average(found))
            yield measured(
                f"{task}, {update} update: final accuracy, {name}, {counted(len(found), 'seed')}",
                accuracy.value,
                "%",
                accuracy.ends,
            )
    for name in OTHERS:
        for pairs in cells.pairs(RELORA, name).values():
            yield _difference(difference_name(task, update, name), pairs)


def _difference(name: str, pairs: Sequence[Pair]) -> Row:
    found = accuracy_difference(pairs)
    noise = "" if len(pairs) > 1 else ": the noise of training is not in the interval"
    return at_least(f"{name}{counted(len(pairs), 'seed')}{noise}", found.value, MARGIN, "points", found.ends)


def _mean(name: str, pairs: Pairs) -> Row:
    """Return the row of a mean over tasks. That of one task has no interval, and so no target."""
    found = mean([accuracy_difference(seeds).value for seeds in pairs.values()])
    row = measured(f"{name}{counted(len(pairs), 'task')}", found.value, "points", found.ends)
    return decided(row, "> 0", lambda end: end > 0) if found.ends else row

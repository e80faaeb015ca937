"""Rows about final quality: every strategy to its end, on the test examples of each task."""

from collections.abc import Iterator

from bench.method.answers import (
    accuracy_difference,
    averages,
    difference_row,
    mean_of,
    share_row,
)
from bench.method.cellset import CellSet
from bench.method.variants import FINE_TUNE, RELORA, SCRATCH, STRATEGIES
from bench.results import Row

MARGIN = -0.5
"""Points of accuracy that ReLoRA may lose on a task."""


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the accuracies and their differences by task and update, and the mean differences over the tasks."""
    for update in cells.updates:
        for task in cells.tasks:
            yield from _of_task(cells.on(update=update, task=task), task, update)
        for name in (FINE_TUNE, SCRATCH):
            if groups := cells.on(update=update).pairs(RELORA, name):
                mean = mean_of([accuracy_difference(group) for group in groups])
                row = difference_row(f"{mean_name(update, name)}, {len(groups)} tasks", mean, "points")
                yield row.model_copy(update={"target": "lower end > 0", "met": mean.low > 0})


def difference_name(task: str, update: str, variant: str) -> str:
    """Return how the name of the row with ReLoRA's difference to a strategy begins."""
    return f"{task}, {update} update: final accuracy, ReLoRA − {variant}"


def mean_name(update: str, variant: str) -> str:
    """Return how the name of the row with the mean difference begins."""
    return f"{update} update: mean final accuracy, ReLoRA − {variant}"


def _of_task(cells: CellSet, task: str, update: str) -> Iterator[Row]:
    if ours := cells.of(RELORA):
        title = f"{task}, {update} update: accuracy of the old adapter on its own base"
        yield share_row(title, ours[0].reference.outcomes)
    for name in STRATEGIES:
        if found := cells.of(name):
            yield share_row(f"{task}, {update} update: final accuracy, {name}", averages(found).correct)
    for name in (FINE_TUNE, SCRATCH):
        for group in cells.pairs(RELORA, name):
            difference = accuracy_difference(group)
            title = f"{difference_name(task, update, name)}, {len(group)} seeds"
            row = difference_row(title, difference, "points")
            yield row.model_copy(update={"target": f"lower end ≥ {MARGIN:g}", "met": difference.low >= MARGIN})

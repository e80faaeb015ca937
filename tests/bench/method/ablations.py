"""Rows about the parts of ReLoRA: with all of them against with one of them changed."""

from collections.abc import Iterator

from bench.method.answers import accuracy_difference, difference_row, loss_difference, mean_of
from bench.method.cellset import CellSet
from bench.method.variants import ABLATIONS, RELORA
from bench.results import Row


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the mean differences over the tasks, in accuracy and in loss, of the final adapters."""
    for name in ABLATIONS:
        if groups := cells.pairs(RELORA, name):
            count = f", {len(groups)} tasks, {sum(map(len, groups))} pairs"
            accuracy = mean_of([accuracy_difference(group) for group in groups])
            yield difference_row(accuracy_name(name) + count, accuracy, "points")
            loss = mean_of([loss_difference(group) for group in groups])
            yield difference_row(loss_name(name) + count, loss, "nats/token")


def accuracy_name(variant: str) -> str:
    """Return how the name of the row with the difference in accuracy begins."""
    return f"final accuracy, ReLoRA − ReLoRA with {variant}"


def loss_name(variant: str) -> str:
    """Return how the name of the row with the difference in loss begins."""
    return f"final loss, ReLoRA − ReLoRA with {variant}"

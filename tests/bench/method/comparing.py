"""The re-adaptations of a run, and the rows that compare them."""

from collections.abc import Iterator

from bench.method import ablations, quality, readiness, searching
from bench.method.cells import Cell, Shelf, recipe
from bench.method.cellset import CellSet
from bench.method.chain import open_chain
from bench.method.variants import GATES, Key, readaptation
from bench.results import Row, at_most, measured


def measure(key: Key, epochs: int, shelf: Shelf) -> Cell:
    """Return a cell, measured now unless it is on the shelf.

    Raises:
        TrainerError: A step failed.
    """
    chain = open_chain(key.task, key.update)
    asked = readaptation(key.variant, key.refine, seed=key.seed, epochs=epochs)
    return shelf.cell(recipe(chain, key.variant, asked, GATES), chain)


def rows(cells: CellSet, planned: int, failed: int) -> Iterator[Row]:
    """Yield the table's rows from the cells that are finished.

    Args:
        cells: The finished ones.
        planned: Cells of the whole run.
        failed: Cells that could not be measured.
    """
    yield measured("re-adaptations measured", len(cells.cells), f"of {planned}")
    yield at_most("re-adaptations that failed", failed, 0)
    yield from readiness.rows(cells)
    yield from quality.rows(cells)
    yield from ablations.rows(cells)
    yield from searching.rows(cells)

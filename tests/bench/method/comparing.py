"""The rows that compare the re-adaptations of a run."""

from collections.abc import Iterator

from bench.method import ablations, costs, quality, readiness, searching
from bench.method.cellset import CellSet
from bench.results import Row, at_most, measured

MEASURED = "re-adaptations measured"


def rows(cells: CellSet, planned: int, failed: int) -> Iterator[Row]:
    """Yield the table's rows from the cells that are finished.

    Args:
        cells: The finished ones.
        planned: Cells of the whole run.
        failed: Cells that could not be measured.
    """
    yield measured(MEASURED, len(cells.cells), f"of {planned}")
    yield at_most("re-adaptations that failed", failed, 0)
    yield from readiness.rows(cells)
    yield from quality.rows(cells)
    yield from costs.rows(cells)
    yield from ablations.rows(cells)
    yield from searching.rows(cells)

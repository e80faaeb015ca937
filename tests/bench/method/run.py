"""A run: what of a form is still to be measured, and the result of what is finished."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from bench.method import comparing
from bench.method.cells import Cell, Recipe, recipe
from bench.method.cellset import CellSet
from bench.method.chain import Chain, chain_of, open_chain
from bench.method.finished import Finished
from bench.method.forms import Form, kernels
from bench.method.measuring import measure
from bench.method.parts import Part, carry_out, say
from bench.method.shelf import Shelf
from bench.method.variants import GATES, Key, order, readaptation
from bench.results import Result
from relora_trainer.errors import TrainerError

KERNELS = "kernels"
"""The parts of the method on their own, beside the names of the tasks."""


class Run:
    """The run of a form.

    Args:
        form: What is measured.
        shelf: What is finished, also by other processes.
        work: A folder to work in.
        measured: Carries out one re-adaptation.
    """

    def __init__(
        self, form: Form, shelf: Shelf, work: Path, measured: Callable[[Recipe, Chain, Path], Cell] = measure
    ) -> None:
        self._form = form
        self._shelf = shelf
        self._work = work
        self._measured = measured
        self._keys = order(form.tasks, form.updates, form.seeds, form.ablations, with_until_ready=form.with_until_ready)

    def unfinished(self, chosen: Collection[str]) -> Iterator[Callable[[], None]]:
        """Yield what measures each missing thing and keeps it: first the parts of the method, then re-adaptations.

        Args:
            chosen: `KERNELS`, names of tasks, or both.
        """
        if KERNELS in chosen:
            for part in kernels(self._form):
                if self._shelf.part(part) is None:
                    yield partial(self._measure_part, part)
        for key in self._keys:
            if key.task in chosen and self._shelf.cell(self._recipe(key)) is None:
                yield partial(self._measure_cell, key)

    def result(self) -> Result:
        """Return the rows of everything that is finished.

        Raises:
            MixedError: It was not measured in one way, as can be where the shelf gives what any trainer measured.
        """
        parts = [found for part in kernels(self._form) if (found := self._shelf.part(part)) is not None]
        cells, failures = {}, []
        for key in self._keys:
            asked = self._recipe(key)
            if (cell := self._shelf.cell(asked)) is not None:
                cells[key] = cell
            elif (failure := self._shelf.failure(asked)) is not None:
                failures.append(failure)
        finished = Finished(cells, parts, failures)
        rows = [row for part in parts for row in part.rows]
        rows += comparing.rows(CellSet(cells), len(self._keys), finished.failed)
        return Result(
            bench="method",
            date=finished.date,
            versions=finished.versions,
            machine=finished.machine,
            seeds=list(self._form.seeds),
            rows=rows,
        )

    def _measure_part(self, part: Part) -> None:
        rows = carry_out(part.name, lambda: list(part.rows()))
        self._shelf.keep_part(part, rows)

    def _measure_cell(self, key: Key) -> None:
        asked = self._recipe(key)
        work = partial(self._measured, asked, open_chain(key.task, key.update), self._work)
        try:
            self._shelf.keep(carry_out(str(key), work))
        except TrainerError as error:
            say(f"{key}: {error}")
            self._shelf.keep_failure(asked, str(error))

    def _recipe(self, key: Key) -> Recipe:
        asked = readaptation(key.variant, seed=key.seed, epochs=self._form.epochs)
        return recipe(chain_of(key.task, key.update), key.variant, asked, GATES)

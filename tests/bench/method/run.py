"""A run: what of a form is still to be measured, and the result of what is finished."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import torch

from bench import results
from bench.method import comparing
from bench.method.cells import Cell, Recipe, recipe
from bench.method.cellset import CellSet
from bench.method.chain import Chain, chain_of, open_chain
from bench.method.forms import Form, kernels
from bench.method.measuring import measure
from bench.method.parts import Part, carry_out, say
from bench.method.shelf import Shelf
from bench.method.variants import GATES, Key, order, readaptation
from bench.results import Result
from relora_trainer.errors import TrainerError

KERNELS = "kernels"
"""The parts of the method on their own, beside the names of the tasks."""
PACKAGES = ("relora", "torch", "transformers", "peft", "botorch", "safetensors")


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
        self._keys = order(form.tasks, form.updates, form.seeds, form.ablations)
        self._failed = 0

    def unfinished(self, chosen: Collection[str]) -> Iterator[Callable[[], None]]:
        """Yield what measures each missing thing and keeps it: first the parts of the method, then re-adaptations.

        Args:
            chosen: `KERNELS`, names of tasks, or both.
        """
        if KERNELS in chosen:
            for part in kernels(self._form):
                if self._shelf.part(part, repr(self._form)) is None:
                    yield partial(self._measure_part, part)
        for key in self._keys:
            if key.task in chosen and self._shelf.cell(self._recipe(key)) is None:
                yield partial(self._measure_cell, key)

    def result(self) -> Result:
        """Return the rows of everything that is finished."""
        parts = [self._shelf.part(part, repr(self._form)) for part in kernels(self._form)]
        finished = [part for part in parts if part is not None]
        cells = {key: cell for key in self._keys if (cell := self._shelf.cell(self._recipe(key))) is not None}
        rows = [row for part in finished for row in part.rows]
        rows += comparing.rows(CellSet(cells), len(self._keys), self._failed)
        found = results.result("method", rows, packages=PACKAGES, seeds=self._form.seeds)
        machines = [*(part.machine for part in finished), *(cell.machine for cell in cells.values())]
        processors = sorted({machine["processor"] for machine in machines or [found.machine]})
        machine = {"processor": " and ".join(processors), "threads": str(torch.get_num_threads())}
        return found.model_copy(update={"machine": found.machine | machine})

    def _measure_part(self, part: Part) -> None:
        rows = carry_out(part.name, lambda: list(part.rows()))
        self._shelf.keep_part(part, repr(self._form), rows)

    def _measure_cell(self, key: Key) -> None:
        work = partial(self._measured, self._recipe(key), open_chain(key.task, key.update), self._work)
        try:
            self._shelf.keep(carry_out(str(key), work))
        except TrainerError as error:
            say(f"{key}: {error}")
            self._failed += 1

    def _recipe(self, key: Key) -> Recipe:
        asked = readaptation(key.variant, seed=key.seed, epochs=self._form.epochs)
        return recipe(chain_of(key.task, key.update), key.variant, asked, GATES)

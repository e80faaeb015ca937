"""`python -m bench.method`: measure, print the table, write the results after every part."""

import argparse
import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads starve what runs beside
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from bench import results
from bench.method import comparing
from bench.method.cells import Cell, Shelf, measure
from bench.method.cellset import CellSet
from bench.method.forms import FORMS, Form, kernels
from bench.method.parts import carry_out, say
from bench.method.variants import Key, order
from bench.results import Result, Row
from realdata.cache import cache_root
from relora_trainer.errors import TrainerError

PACKAGES = ("relora", "torch", "transformers", "peft", "botorch", "safetensors")


def main(arguments: Sequence[str]) -> int:
    """Measure; the exit code is 0 when everything was measured, whatever targets were missed."""
    options = _parser().parse_args(arguments)
    output = options.output or results.FOLDER / ("method.json" if options.form == "full" else "method-quick.json")
    warnings.filterwarnings("ignore", category=FutureWarning)  # between the versions of PEFT and transformers
    with contextlib.ExitStack() as stack:
        folder = options.cells or _folder(options.form, stack)
        for found in _results(FORMS[options.form], folder):
            found.write(output)
    print(found.table())
    return 0


def _results(form: Form, folder: Path) -> Iterator[Result]:
    """Yield what is known after each part: first the parts of the method on their own, then the re-adaptations."""
    shelf = Shelf(folder, partial(measure, folder=folder))
    kernel_rows: list[Row] = []
    for part in kernels(form):
        kernel_rows += carry_out(part.name, partial(shelf.rows, part, repr(form)))
        yield _result(form, kernel_rows)
    cells: dict[Key, Cell] = {}
    failed = 0
    planned = order(form.tasks, form.updates, form.seeds, form.ablations)
    for key in planned:
        try:
            cells[key] = carry_out(str(key), partial(comparing.measure, key, form.epochs, shelf))
        except TrainerError as error:
            say(f"{key}: {error}")
            failed += 1
        yield _result(form, [*kernel_rows, *comparing.rows(CellSet(cells), len(planned), failed)])


def _result(form: Form, rows: Sequence[Row]) -> Result:
    found = results.result("method", rows, packages=PACKAGES, seeds=form.seeds)
    return found.model_copy(update={"machine": found.machine | {"threads": str(torch.get_num_threads())}})


def _folder(form: str, stack: contextlib.ExitStack) -> Path:
    """Return the folder of what is finished: the full form goes on where it was interrupted, the others start anew."""
    if form == "full":
        return cache_root().with_name("bench-method")
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relora-bench-")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.method", description=__doc__)
    parser.add_argument("--form", choices=FORMS, default="full", help="tiny proves the code and measures nothing")
    parser.add_argument("--output", type=Path, help="where the JSON goes (tests/bench/results)")
    parser.add_argument("--cells", type=Path, help="folder of what is finished, which is not measured again")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

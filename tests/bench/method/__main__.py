"""`python -m bench.method`: measure, print the table, write the results."""

import argparse
import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads starve what runs beside
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from bench import results
from bench.method import comparing
from bench.method.cells import Shelf, measure
from bench.method.forms import FORMS, kernels
from bench.method.parts import carry_out
from realdata.cache import cache_root

PACKAGES = ("relora", "torch", "transformers", "peft", "botorch", "safetensors")


def main(arguments: Sequence[str]) -> int:
    """Measure; the exit code is 0 when everything was measured, whatever targets were missed."""
    options = _parser().parse_args(arguments)
    form = FORMS[options.form]
    warnings.filterwarnings("ignore", category=FutureWarning)  # between the versions of PEFT and transformers
    with contextlib.ExitStack() as stack:
        cells = options.cells or _cells(options.form, stack)
        shelf = Shelf(cells, measure)
        rows = carry_out([*kernels(form), *comparing.parts(form.chains, form.seeds, form.epochs, shelf)])
    found = results.result("method", rows, packages=PACKAGES, seeds=form.seeds)
    machine = found.machine | {"threads": str(torch.get_num_threads())}
    found = found.model_copy(update={"machine": machine})
    found.write(options.output or results.FOLDER / ("method.json" if options.form == "full" else "method-quick.json"))
    print(found.table())
    return 0


def _cells(form: str, stack: contextlib.ExitStack) -> Path:
    """Return the folder of finished cells: the full form goes on where it was interrupted, the others start anew."""
    if form == "full":
        return cache_root().with_name("bench-method")
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relora-bench-")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.method", description=__doc__)
    parser.add_argument("--form", choices=FORMS, default="full", help="tiny proves the code and measures nothing")
    parser.add_argument("--output", type=Path, help="where the JSON goes (tests/bench/results)")
    parser.add_argument("--cells", type=Path, help="folder of finished re-adaptations, which are not measured again")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

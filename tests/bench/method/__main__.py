"""`python -m bench.method`: measure what is missing, print the table, write the results after every part."""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads starve what runs beside
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bench import results
from bench.method.chain import TASKS
from bench.method.finished import MixedError
from bench.method.forms import FORMS
from bench.method.run import KERNELS, Run
from bench.method.shelf import Shelf

FULL = "full"


def main(arguments: Sequence[str]) -> int:
    """Measure; the exit code is 0 when everything was measured, whatever targets were missed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    form = FORMS[options.form]
    output = options.output or results.FOLDER / ("method.json" if options.form == FULL else "method-quick.json")
    kept = options.finished or (results.FOLDER / "method" if options.form == FULL else None)
    warnings.filterwarnings("ignore", category=FutureWarning)  # between the versions of PEFT and transformers
    if options.table and kept is None:
        parser.error(f"--table: the form {options.form} keeps what is finished only in a folder given by --finished")
    with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
        passing = Path(folder)
        run = Run(form, Shelf(kept or passing / "finished", any_trainer=options.table), passing / "work")
        if not options.table:
            for unfinished in run.unfinished(options.only or (KERNELS, *form.tasks)):
                unfinished()
                run.result().write(output)
        try:
            found = run.result()
        except MixedError as error:
            parser.exit(1, f"{error}\n")
        found.write(output)
        print(found.table())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.method", description=__doc__)
    parser.add_argument("--form", choices=FORMS, default=FULL, help="tiny proves the code and measures nothing")
    parser.add_argument("--output", type=Path, help="where the JSON goes (tests/bench/results)")
    parser.add_argument(
        "--finished", type=Path, help="folder of what is not measured again (full: tests/bench/results/method)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(KERNELS, *TASKS),
        help="measure a part of what is missing, so that several processes share a run (default: everything)",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="measure nothing: make the table of what is finished, whichever trainer it was that measured all of it",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

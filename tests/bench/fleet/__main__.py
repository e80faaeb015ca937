"""`python -m bench.fleet`: measure, print the table, write results and plot."""

import argparse
import asyncio
import sys
from pathlib import Path

from bench import results
from bench.fleet import course
from bench.fleet.objects import STEP
from bench.fleet.report import breakdown, plot, rows
from devcluster.gobuild import module_version
from devcluster.paths import GO_MODULE, KWOK_MODULE

_PLOT = Path(__file__).parents[3] / "docs" / "fleet.svg"
_SMALLER = (10, 5)
"""By what the size is divided for the other points of the plot; the ratios of the table take the first."""


def main(arguments: list[str]) -> int:
    """Measure; the exit code is 1 when a row missed its target."""
    options = _parser().parse_args(arguments)
    if options.bindings % STEP:
        raise SystemExit(f"the number of bindings is no multiple of {STEP}")
    smaller = {max(STEP, options.bindings // part // STEP * STEP) for part in _SMALLER}
    sizes = sorted({*smaller, options.bindings})
    courses = [asyncio.run(course.run(size, _say, whole=size == options.bindings)) for size in sizes]
    found = results.result("fleet", rows(courses), packages=("kopf", "aiohttp", "kubernetes", "pydantic"))
    found = found.model_copy(update={"versions": found.versions | _versions()})
    found.write(options.output)
    if len(courses) > 1:
        plot(courses, options.plot)
    print(found.table())
    for one in courses:
        print(f"\nrequests per binding, {one.bindings} bindings: {breakdown(one.real)}")
    return 1 if found.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("bindings", type=int, nargs="?", default=100, help=f"a multiple of {STEP} (%(default)s)")
    parser.add_argument("--output", type=Path, default=results.FOLDER / "fleet.json")
    parser.add_argument("--plot", type=Path, default=_PLOT)
    return parser


def _versions() -> dict[str, str]:
    cluster, kwok = ((module / "go.mod").read_text() for module in (GO_MODULE, KWOK_MODULE))
    return {
        "kubernetes": module_version(cluster, "k8s.io/kubernetes"),
        "kwok": module_version(kwok, "sigs.k8s.io/kwok"),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

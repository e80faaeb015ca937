"""`python -m bench.method.page`: draw the plots of the kept run, and write its tables into the docs and the README."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.method import ablations, comparing, quality, readiness, searching
from bench.method.plots import UPDATES, draw, file_name, panels
from bench.method.searchers import GRID, PAPER
from bench.method.variants import ABLATIONS, FINE_TUNE, RELORA, SCRATCH
from bench.results import FOLDER, Result, Row, texts

_ROOT = Path(__file__).parents[3]
PAGE = _ROOT / "docs" / "method-bench.md"
README = _ROOT / "README.md"
FULL, QUICK = "method.json", "method-quick.json"
END = "<!-- end of the table -->"
_KERNELS = ("Π_", "streamed projection", "peak memory", "fusion", "one probe", "training throughput", "start-up of the")
"""How the names of the rows of the method's own parts begin; the README shows those with a target."""


def every_row(result: Result) -> list[Row]:
    """Return what the page shows of a run."""
    return result.rows


def summary(result: Result) -> list[Row]:
    """Return what the README shows of a run: what the comparisons come to, and the targets of the parts."""
    return [
        *_first(result, comparing.MEASURED),
        *_first(result, *(readiness.ratio_name(other) for other in (SCRATCH, FINE_TUNE))),
        *_first(result, *(name for other in (SCRATCH, FINE_TUNE) for name in _alone(other))),
        *_first(result, readiness.slower_name(), *(readiness.ported_name(update) for update in UPDATES)),
        *(row for other in quality.OTHERS for row in _worst(result, quality.difference_of(other))),
        *_first(result, *(quality.mean_name(update, other) for other in quality.OTHERS for update in UPDATES)),
        *_first(result, *(ablations.accuracy_name(name) for name in ABLATIONS)),
        *_first(result, searching.cost_name(), *(searching.excess_name(name) for name in (PAPER, GRID))),
        *(row for row in result.rows if row.target and row.name.startswith(_KERNELS)),
    ]


def _alone(other: str) -> tuple[str, str]:
    return readiness.alone_name(RELORA, other), readiness.alone_name(other, RELORA)


def _first(result: Result, *begins: str) -> list[Row]:
    """Return for each beginning of a name the first row that has it, if there is one."""
    found = [next((row for row in result.rows if row.name.startswith(begin)), None) for begin in begins]
    return [row for row in found if row is not None]


def _worst(result: Result, part: str) -> list[Row]:
    """Return the row of the lowest value among those with this part of a name, if there are any."""
    found = [(row.value, row) for row in result.rows if f"update: {part}" in row.name and row.value is not None]
    if not found:
        return []
    _, row = min(found, key=lambda pair: pair[0])
    return [row.model_copy(update={"name": f"the lowest of {len(found)}: {row.name}"})]


def with_tables(
    page: str,
    read: Callable[[str], Result | None],
    *,
    rows: Callable[[Result], Sequence[Row]] = every_row,
    plots: Sequence[str] = (),
) -> str:
    """Return a page with the tables of the runs that it has marks for.

    Args:
        page: Its text; a table stands between the mark with the name of its file and the mark of its end.
        read: Returns the run that is kept under such a name, if there is one.
        rows: Returns what is shown of a run.
        plots: Names of files beside the page, which are shown below the table of a full run that is kept.

    Raises:
        ValueError: The mark of an end is missing, without which the rest of the page would be lost.
    """
    for name in (FULL, QUICK):
        begin = f"<!-- table of {name}: generated -->"
        if begin in page:
            before, _, rest = page.partition(begin)
            _, end, after = rest.partition(END)
            if not end:
                raise ValueError(f"no {END!r} after {begin!r}")
            found = read(name)
            shown = [_table(found, rows(found))] if found else ["No run is kept yet."]
            if found and name == FULL:
                shown += [f"![{Path(plot).stem}]({plot})" for plot in plots]
            page = "\n\n".join([before + begin, *shown, END + after])
    return page


def kept(name: str) -> Result | None:
    """Return a run that is kept in the repository, if there is one."""
    path = FOLDER / name
    return Result.read(path) if path.is_file() else None


def drawn(folder: Path = PAGE.parent) -> list[str]:
    """Return the names of the plots that there are."""
    names = [file_name(plot) for plot in panels([])]
    return [name for name in names if (folder / name).is_file()]


def _table(result: Result, rows: Sequence[Row]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in result.versions.items())
    lines = [f"{result.date}; {machine}; {versions}; seeds {result.seeds}.", ""]
    lines += ["| | value | interval | target | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(texts(row))} |" for row in rows)])


if __name__ == "__main__":
    if (full := kept(FULL)) is not None:
        draw(full, PAGE.parent)
    PAGE.write_text(with_tables(PAGE.read_text(), kept, plots=drawn()))
    README.write_text(with_tables(README.read_text(), kept, rows=summary))

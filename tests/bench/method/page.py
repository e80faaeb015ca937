"""`python -m bench.method.page`: write the tables of the kept runs into the docs and the README, and draw the plots."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.method.plots import draw
from bench.results import FOLDER, Result, Row

_ROOT = Path(__file__).parents[3]
PAGE = _ROOT / "docs" / "method-bench.md"
README = _ROOT / "README.md"
FULL, QUICK = "method.json", "method-quick.json"
END = "<!-- end of the table -->"
_WHOLE = 1000


def with_tables(page: str, read: Callable[[str], Result | None], *, targets_only: bool = False) -> str:
    """Return a page with the tables of the runs that it has marks for.

    Args:
        page: Its text; a table stands between the mark with the name of its file and the mark of its end.
        read: Returns the run that is kept under such a name, if there is one.
        targets_only: Whether rows without a target are left out.
    """
    for name in (FULL, QUICK):
        begin = f"<!-- table of {name}: generated -->"
        if begin in page:
            before, _, rest = page.partition(begin)
            _, _, after = rest.partition(END)
            found = read(name)
            table = _table(found, targets_only=targets_only) if found else "No run is kept yet."
            page = f"{before}{begin}\n\n{table}\n\n{END}{after}"
    return page


def kept(name: str) -> Result | None:
    """Return a run that is kept in the repository, if there is one."""
    path = FOLDER / name
    return Result.read(path) if path.is_file() else None


def _table(result: Result, *, targets_only: bool) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in result.versions.items())
    rows: Sequence[Row] = [row for row in result.rows if row.target or not targets_only]
    lines = [f"{result.date}; {machine}; {versions}; seeds {result.seeds}.", ""]
    lines += ["| | value | interval | target | |", "|---|---|---|---|---|", *map(_line, rows)]
    return "\n".join(lines)


def _line(row: Row) -> str:
    value = "not measured" if row.value is None else f"{_number(row.value)} {row.unit}".strip()
    ends = f"{_number(row.low)} to {_number(row.high)}" if row.low is not None and row.high is not None else ""
    verdict = "" if row.met is None else "met" if row.met else "missed"
    return f"| {row.name} | {value} | {ends} | {row.target or ''} | {verdict} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.3g}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(), kept))
    README.write_text(with_tables(README.read_text(), kept, targets_only=True))
    if (full := kept(FULL)) is not None:
        draw(full, PAGE.parent)

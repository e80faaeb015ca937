"""`python -m bench.method.page`: write the quick run's table into docs/method-bench.md."""

from pathlib import Path

from bench.results import FOLDER, Result, Row

PAGE = Path(__file__).parents[3] / "docs" / "method-bench.md"
RESULT = FOLDER / "method-quick.json"
BEGIN, END = "<!-- table: generated -->", "<!-- end of the table -->"
_WHOLE = 1000


def with_table(page: str, result: Result | None) -> str:
    """Return the page with the table of `result`, or with the word that there is none, between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_table(result) if result else 'No run is kept yet.'}\n\n{END}{after}"


def kept() -> Result | None:
    """Return the quick run that is kept in the repository, if there is one."""
    return Result.read(RESULT) if RESULT.is_file() else None


def _table(result: Result) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in result.versions.items())
    lines = [f"{result.date}; {machine}; {versions}; seeds {result.seeds}.", ""]
    lines += ["| | value | interval | target | |", "|---|---|---|---|---|", *map(_line, result.rows)]
    return "\n".join(lines)


def _line(row: Row) -> str:
    value = "not measured" if row.value is None else f"{_number(row.value)} {row.unit}".strip()
    ends = f"{_number(row.low)} to {_number(row.high)}" if row.low is not None and row.high is not None else ""
    verdict = "" if row.met is None else "met" if row.met else "missed"
    return f"| {row.name} | {value} | {ends} | {row.target or ''} | {verdict} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.3g}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), kept()))

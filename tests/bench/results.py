"""The form of every bench's results: one row per line of a table, with its target and whether that was met."""

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).with_name("results")
Ends: TypeAlias = tuple[float, float]
"""Of an interval, the lower one first."""
_WHOLE = 999.5
"""From here on three digits are no more than a whole number has."""
_TINY = 1e-3


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Form):
    """One measured value.

    `low` and `high` are the ends of its interval, or of its range over repetitions, where there is one. `target` is
    in words, as in "≤ 12"; a row without one is for orientation, and `met` is then absent, too. With a target, `met` is
    absent where nothing is decided: `decided` says when.
    """

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    target: str | None = None
    met: bool | None = None


class Result(_Form):
    """What one run of a bench found."""

    bench: str
    date: str
    versions: dict[str, str]
    machine: dict[str, str]
    seeds: list[int] = Field(default_factory=list)
    rows: list[Row]

    @property
    def missed(self) -> list[Row]:
        """The rows that did not reach their target."""
        return [row for row in self.rows if row.met is False]

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read what `write` wrote."""
        return cls.model_validate_json(path.read_text())

    def table(self) -> str:
        """Return the rows as a table for a terminal."""
        head = ("", "value", "range", "target", "")
        lines = [head, *(_of_terminal(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        text = [f"{self.bench}, {self.date}, {', '.join(f'{key} {value}' for key, value in self.machine.items())}", ""]
        for line in lines:
            cells = [line[0].ljust(widths[0]), line[1].rjust(widths[1])]
            cells += [cell.ljust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
            text.append("  ".join(cells).rstrip())
        return "\n".join(text)


def at_most(name: str, value: float | None, limit: float, unit: str = "", interval: Ends | None = None) -> Row:
    """Return a row that must not exceed `limit`. A value that was not measured has not met its target."""
    return decided(measured(name, value, unit, interval), f"≤ {limit:g}", lambda found: found <= limit)


def at_least(name: str, value: float | None, limit: float, unit: str = "", interval: Ends | None = None) -> Row:
    """Return a row that must reach `limit`."""
    return decided(measured(name, value, unit, interval), f"≥ {limit:g}", lambda found: found >= limit)


def decided(row: Row, target: str, is_reached: Callable[[float], bool]) -> Row:
    """Return a row with its target, and whether that was met.

    Where the row has an interval, all of it must be on one side: `met` is absent when only one of its ends reaches the
    target. Without an interval the value decides, and one that was not measured has not met its target.

    Args:
        row: A row without a target.
        target: In words.
        is_reached: Tells whether a value would meet it.
    """
    ends: list[float | None] = [row.value] if row.low is None or row.high is None else [row.low, row.high]
    found = {end is not None and is_reached(end) for end in ends}
    return row.model_copy(update={"target": target, "met": found.pop() if len(found) == 1 else None})


def measured(name: str, value: float | None, unit: str = "", interval: Ends | None = None) -> Row:
    """Return a row without a target."""
    low, high = interval or (None, None)
    return Row(name=name, value=value, unit=unit, low=low, high=high)


def result(bench: str, rows: Sequence[Row], *, packages: Sequence[str] = (), seeds: Sequence[int] = ()) -> Result:
    """Return the rows with what they were measured on.

    Args:
        bench: Name of the bench.
        rows: What was measured.
        packages: Python packages whose versions matter.
        seeds: Seeds of everything random.
    """
    versions = {"python": platform.python_version(), **{package: version(package) for package in packages}}
    return Result(
        bench=bench,
        date=now(),
        versions=versions,
        machine=machine(),
        seeds=list(seeds),
        rows=list(rows),
    )


def now() -> str:
    """Return the time in UTC to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")


def machine() -> dict[str, str]:
    """Describe the machine, and how busy it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory} GiB",
        "kernel": platform.release(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def texts(row: Row) -> tuple[str, str, str, str, str]:
    """Return a row for people: name, value with its unit, interval, target, and whether that was met."""
    spread = f"{number(row.low)} to {number(row.high)}" if row.low is not None and row.high is not None else ""
    return row.name, _value(row), spread, row.target or "", _verdict(row)


def number(value: float) -> str:
    """Return three significant digits, whole thousands apart, and what is tiny as in 1.4e-7."""
    if abs(value) >= _WHOLE:
        return f"{value:,.0f}"
    if value and abs(value) < _TINY:
        digits, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.3g}"


def _value(row: Row) -> str:
    if row.value is None:
        return "not measured" if row.met is False else "none"
    return f"{number(row.value)} {row.unit}".strip()


def _verdict(row: Row) -> str:
    if row.target is None:
        return ""
    return "undecided" if row.met is None else "met" if row.met else "missed"


def _of_terminal(row: Row) -> tuple[str, str, str, str, str]:
    name, value, spread, target, verdict = texts(row)
    return name, value, spread, target, "MISSED" if row.met is False else verdict

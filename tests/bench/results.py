"""The form of every bench's results: one row per line of a table, with its target and whether that was met."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).with_name("results")


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Form):
    """One measured value.

    `low` and `high` are the ends of its interval, or of its range over repetitions, where there is one. `target` is
    in words, as in "≤ 12"; a row without one is for orientation, and `met` is then absent, too.
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
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        text = [f"{self.bench}, {self.date}, {', '.join(f'{key} {value}' for key, value in self.machine.items())}", ""]
        for line in lines:
            cells = [line[0].ljust(widths[0]), line[1].rjust(widths[1])]
            cells += [cell.ljust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
            text.append("  ".join(cells).rstrip())
        return "\n".join(text)


def at_most(name: str, value: float | None, limit: float, unit: str = "") -> Row:
    """Return a row that must not exceed `limit`. A value that was not measured has not met its target."""
    return Row(name=name, value=value, unit=unit, target=f"≤ {limit:g}", met=value is not None and value <= limit)


def at_least(name: str, value: float | None, limit: float, unit: str = "") -> Row:
    """Return a row that must reach `limit`."""
    return Row(name=name, value=value, unit=unit, target=f"≥ {limit:g}", met=value is not None and value >= limit)


def measured(name: str, value: float | None, unit: str = "") -> Row:
    """Return a row without a target."""
    return Row(name=name, value=value, unit=unit)


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
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        versions=versions,
        machine=machine(),
        seeds=list(seeds),
        rows=list(rows),
    )


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


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    value = "not measured" if row.value is None else f"{_number(row.value)} {row.unit}".strip()
    spread = f"{_number(row.low)} to {_number(row.high)}" if row.low is not None and row.high is not None else ""
    verdict = "" if row.met is None else "met" if row.met else "MISSED"
    return row.name, value, spread, row.target or "", verdict


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

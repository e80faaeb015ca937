"""The parts of a run, one after the other, with a sign of life while each works."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from bench.results import Row
from devcluster.progress import Ticker


@dataclass(frozen=True)
class Part:
    """What yields some of the rows."""

    name: str
    rows: Callable[[], Iterable[Row]]


def carry_out(parts: Iterable[Part]) -> list[Row]:
    """Return the rows of all parts."""
    found: list[Row] = []
    for part in parts:
        with Ticker(say, partial(str, part.name)) as ticker:
            found += part.rows()
        say(f"{part.name}: done in {ticker.elapsed()}")
    return found


def say(line: str) -> None:
    """Tell the person at the terminal; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)

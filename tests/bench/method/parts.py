"""The parts of a run, one after the other, with a sign of life while each works."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bench.results import Row
from devcluster.progress import Ticker

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """What yields some of the rows.

    Attributes:
        name: Its own among the parts.
        rows: Measures them.
        settings: With which sizes and counts, and on what: those of other settings are other rows.
    """

    name: str
    rows: Callable[[], Iterable[Row]]
    settings: str


def carry_out(name: str, work: Callable[[], T]) -> T:
    """Return what `work` returns."""
    with Ticker(say, partial(str, name)) as ticker:
        found = work()
    say(f"{name}: done in {ticker.elapsed()}")
    return found


def say(line: str) -> None:
    """Tell the person at the terminal; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)

"""Says what the demonstration does now and how long each stage took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from devcluster.progress import elapsed


@dataclass
class Stages:
    """Prints one line when a stage starts, lines in between, and one when it ends."""

    console: Console
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell that a stage runs, and how long it took."""
        begin = time.monotonic()
        self.console.print(f"[bold]{self.elapsed()}[/]  {name} …")
        yield
        self.console.print(f"[bold]{self.elapsed()}[/]  {name} [green]done[/] in {time.monotonic() - begin:.0f} s")

    def report(self, line: str) -> None:
        """Print a line of a stage's progress."""
        self.console.print(f"[dim]{self.elapsed()}    {line}[/]", markup=True, highlight=False)

    def elapsed(self) -> str:
        """Return the time since the start as minutes and seconds."""
        return f"{elapsed(time.monotonic() - self.started):>5}"

"""Progress of long work on standard error, with the time elapsed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass
class Stage:
    """One named piece of work that says how far it is, at most once in ``interval_seconds``."""

    name: str
    stream: TextIO
    interval_seconds: float
    started: float
    last_said: float

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the stage began, by the monotonic clock."""
        return time.monotonic() - self.started

    def update(self, message: str) -> None:
        """Say ``message`` unless something was said less than ``interval_seconds`` ago."""
        now = time.monotonic()
        if now - self.last_said >= self.interval_seconds:
            self.last_said = now
            self.say(message)

    def say(self, message: str) -> None:
        """Print ``message`` with the stage's name and the seconds elapsed."""
        print(f"[{self.elapsed_seconds:6.1f} s] {self.name}: {message}", file=self.stream, flush=True)


@contextmanager
def stage(name: str, *, stream: TextIO | None = None, interval_seconds: float = 5.0) -> Iterator[Stage]:
    """Announce the work called ``name``, hand out its :class:`Stage`, and report its end with the time it took."""
    now = time.monotonic()
    running = Stage(name, stream or sys.stderr, interval_seconds, started=now, last_said=now)
    running.say("started")
    yield running
    running.say("done")

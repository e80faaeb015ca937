"""Progress for people at a terminal and for the log of a Job."""

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LOG = logging.getLogger(__name__)
LOG_INTERVAL_SECONDS = 5.0


class LoggedProgress:
    """One log line per part at its start, its end, and every five seconds between."""

    def __init__(self) -> None:
        self._part = ""
        self._last = 0.0

    def update(self, part: str, done: int, total: int, detail: str = "") -> None:
        """Tell that `done` of `total` are done."""
        now = time.monotonic()
        if part == self._part and done < total and now - self._last < LOG_INTERVAL_SECONDS:
            return
        self._part, self._last = part, now
        LOG.info("%s: %d of %d %s", part, done, total, detail)


class BarProgress:
    """A bar per part, with elapsed time."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, part: str, done: int, total: int, detail: str = "") -> None:
        """Tell that `done` of `total` are done."""
        if part not in self._tasks:
            self._tasks[part] = self._bars.add_task(part, total=total, detail=detail)
        self._bars.update(self._tasks[part], completed=done, total=total, detail=detail)

"""Tells that long work goes on, and for how long it has."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from devcluster.errors import DevclusterError

Report = Callable[[str], None]

_EVERY_SECONDS = 10.0
_KEPT_LINES = 40


def elapsed(seconds: float) -> str:
    """Write a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Ticker:
    """Reports every ten seconds while work goes on, as a context manager.

    Args:
        report: Takes a line.
        doing: Says what is going on now.
    """

    def __init__(self, report: Report, doing: Callable[[], str]) -> None:
        self._report = report
        self._doing = doing
        self._started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def elapsed(self) -> str:
        """Return the time since the start."""
        return elapsed(time.monotonic() - self._started)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            self._report(f"{self._doing()}, {self.elapsed()}")


def run_reported(
    what: str,
    command: Sequence[str],
    report: Report,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    doing: Callable[[list[str]], str] | None = None,
) -> list[str]:
    """Run a long command, reporting that it goes on.

    Args:
        what: What the command does, for the reports and for the error.
        command: The command line.
        report: Takes a line.
        environment: Variables to add to this process' own.
        folder: The working folder.
        doing: Makes a report of the lines that were printed so far; by default ``what``.

    Returns:
        The lines that it printed.

    Raises:
        DevclusterError: It failed; the message ends with what it printed last.
    """
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process, Ticker(report, lambda: doing(lines) if doing else what):
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        for line in process.stdout:
            lines.append(line.rstrip("\n"))  # noqa: PERF401 - the ticker reads them as they come
    if process.returncode:
        tail = "\n".join(lines[-_KEPT_LINES:])
        raise DevclusterError(f"{what} failed ({command[0]} ended with {process.returncode}):\n{tail}")
    return lines

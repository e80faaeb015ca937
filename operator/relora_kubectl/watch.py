"""Follows releases until they are complete."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from relora_kubectl.cluster import UnreachableError
from relora_kubectl.errors import ExitCode
from relora_kubectl.output import Output
from relora_kubectl.status import StatusView
from relora_kubectl.status_text import change_lines
from relora_kubectl.terminal import status_screen
from relora_operator.core.times import timestamp

FAILURES_IN_A_ROW = 10
"""So many looks without an answer end the watch; a control plane that restarts does not."""


class Follower(Protocol):
    """Shows each view in turn."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, view: StatusView, at: datetime) -> None:
        """Show a view of the moment `at`."""


class Screen:
    """Redraws the terminal; the last view stays."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(highlight=False), auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, view: StatusView, at: datetime) -> None:  # noqa: ARG002 - part of `Follower`
        """Draw the view in place of the one before."""
        self._live.update(status_screen(view), refresh=True)


class Lines:
    """Prints one line for each change."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""

    def show(self, view: StatusView, at: datetime) -> None:
        """Print what differs from the view before."""
        now = change_lines(view)
        changed = [(name, text) for name, text in now.items() if self._known.get(name) != text]
        gone = [(name, "up to date" if name.startswith("server") else "gone") for name in self._known.keys() - now]
        for name, text in [*changed, *sorted(gone)]:
            sys.stdout.write(f"{timestamp(at)} {name}: {text}\n")
        sys.stdout.flush()
        self._known = now


class JsonLines(Lines):
    """Prints the whole view as one line of JSON whenever something differs."""

    def show(self, view: StatusView, at: datetime) -> None:  # noqa: ARG002 - part of `Follower`
        """Print the view if it differs from the one before."""
        now = change_lines(view)
        if now != self._known:
            sys.stdout.write(json.dumps(view.to_json()) + "\n")
            sys.stdout.flush()
        self._known = now


def follower(output: Output) -> Follower:
    """Return what suits standard output."""
    if output is Output.JSON:
        return JsonLines()
    return Screen() if sys.stdout.isatty() else Lines()


async def watch(
    look: Callable[[datetime], Awaitable[StatusView]],
    shown: Follower,
    *,
    clock: Callable[[], datetime],
    interval_seconds: float,
    must_promote: bool,
) -> ExitCode:
    """Look again and again until nothing more is to be waited for.

    Args:
        look: Returns what there is to be shown.
        shown: Shows it.
        clock: The time of day.
        interval_seconds: Between two looks.
        must_promote: Whether a release that gave way to another one, or was taken back, has not succeeded: when it was
            asked for by its name.

    Returns:
        DONE when everything was promoted, REFUSED when something failed.

    Raises:
        UnreachableError: The cluster did not answer for too long.
    """
    failures = 0
    with shown:
        while True:
            try:
                now = clock()
                view = await look(now)
            except UnreachableError:
                failures += 1
                if failures == FAILURES_IN_A_ROW:
                    raise
            else:
                failures = 0
                shown.show(view, now)
                if view.ended:
                    failed = view.failed or (must_promote and not view.promoted)
                    return ExitCode.REFUSED if failed else ExitCode.DONE
            await asyncio.sleep(interval_seconds)

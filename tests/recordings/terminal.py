"""Runs a command in a terminal, and keeps all that it shows."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

COLUMNS, ROWS = 120, 60
_ANSWER_BYTES = 65536
_REDRAW = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""How rich goes back to the beginning of what it drew, clearing each line."""
_CURSOR = re.compile(r"\x1b\[\?25[hl]")


@dataclass(frozen=True)
class Frame:
    """What a terminal shows from a moment on.

    Attributes:
        seconds: Since the command began.
        text: With its codes of colour.
    """

    seconds: float
    text: str


def record(command: Sequence[str], environment: Mapping[str, str], *, limit_seconds: float = 600) -> list[Frame]:
    """Run a command to its end in a terminal and return what it showed, one frame for each time that it redrew.

    Raises:
        ChildProcessError: The command wrote nothing.
        TimeoutError: It did not end.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    with subprocess.Popen(
        list(command), stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, **terminal}
    ) as process:
        os.close(theirs)
        try:
            chunks = list(_chunks(ours, limit_seconds))
        finally:
            process.kill()
            os.close(ours)
    if not chunks:
        raise ChildProcessError(f"{command[0]} ended with {process.returncode} and wrote nothing")
    return frames(chunks)


def _chunks(descriptor: int, limit_seconds: float) -> Iterator[tuple[float, str]]:
    """Yield what is written, with its moment, until the other end is closed."""
    began, decoder = time.monotonic(), getincrementaldecoder("utf-8")()
    while True:
        left = began + limit_seconds - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError(f"the command goes on after {limit_seconds:.0f} s")
        try:
            written = os.read(descriptor, _ANSWER_BYTES)
        except OSError:  # the other end is closed
            return
        text = decoder.decode(written)  # what is read may end within a character
        if text:
            yield time.monotonic() - began, text


def frames(chunks: Sequence[tuple[float, str]]) -> list[Frame]:
    """Return the pictures that make up what was written, each with the moment of its first character."""
    whole = "".join(text for _, text in chunks)
    starts, found = [0, *(redraw.end() for redraw in _REDRAW.finditer(whole))], []
    for start, text in zip(starts, _REDRAW.split(whole), strict=True):
        shown = _CURSOR.sub("", text).replace("\r\n", "\n").rstrip()
        if shown:
            found.append(Frame(_moment(chunks, start), shown))
    return found


def _moment(chunks: Sequence[tuple[float, str]], position: int) -> float:
    end = 0
    for seconds, text in chunks:
        end += len(text)
        if position < end:
            return seconds
    return chunks[-1][0]

"""Progress as lines of a container's log."""

import threading
import time
from collections.abc import Callable

from relora_store.sizes import human_size

SECONDS_BETWEEN = 5.0
AT_ONCE_BYTES = 16 * 1024 * 1024
"""Files of this size get a line of their own when they are complete."""


class LineProgress:
    """Writes a line every few seconds, one for every large file, and one at the end.

    Args:
        label: What is being fetched.
        write: Takes one line.
        clock: Monotonic seconds.
    """

    def __init__(self, label: str, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._started = self._told = clock()
        self._files = 0
        self._size = 0
        self._seen = 0
        self._done = 0

    def begin(self, files: int, size: int, /) -> None:
        """Say how many files and bytes there are in all."""
        with self._lock:
            self._files, self._size, self._seen, self._done = files, size, 0, 0
            self._write(f"{self._label}: {files} files, {human_size(size)}")

    def advance(self, size: int) -> None:
        """Say now and then how far it has come."""
        with self._lock:
            self._seen += size
            now = self._clock()
            if now - self._told >= SECONDS_BETWEEN:
                self._told = now
                percent = 100 * self._seen // max(self._size, 1)
                self._write(
                    f"{self._label}: {human_size(self._seen)} of {human_size(self._size)} ({percent} %), "
                    f"{now - self._started:.0f} s"
                )

    def done(self, name: str, size: int, seconds: float, how: str) -> None:
        """Say that a large file, or the last one, is complete."""
        with self._lock:
            self._done += 1
            if size >= AT_ONCE_BYTES:
                self._write(f"{self._label}: {name} {how}, {human_size(size)} in {seconds:.1f} s")
            if self._done == self._files:
                took = self._clock() - self._started
                self._write(f"{self._label}: complete, {human_size(self._size)} in {took:.1f} s")

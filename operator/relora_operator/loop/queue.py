"""The work queue: which keys wait for a reconcile. It forgets duplicates and never gives one key to two workers."""

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relora_operator.core.actions import Key

LEAST_PAUSE_SECONDS = 1.0
MOST_PAUSE_SECONDS = 5.0
"""How long a key waits for news that it decides by, however long its last reconcile took: what took the time is mostly
an API server that is busy with the bindings, and they wait for slots and promotions."""
PROGRESS_PAUSE_SECONDS = 5.0
"""How far behind an account of what others do may be."""
MOST_PROGRESS_PAUSE_SECONDS = 60.0
"""The same when the bindings themselves are behind: an account need not be fresher than what it tells of, and is what a
slow API server can be spared."""
PAUSE_PER_COST = 9.0
"""A key that gathers news of many others may use a tenth of the time of its worker."""
BINDING_PAUSE_SECONDS = 0.5
"""A step of a Job is told by several events of the Job and of its pod, which come within this time."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential pause after failures of one key, in seconds, with jitter."""

    first: float = 0.5
    most: float = 300.0

    def seconds(self, failures: int, jitter: float) -> float:
        """Return the pause after the `failures`-th failure in a row; `jitter` in [0, 1) takes away up to a half."""
        return min(self.most, self.first * 2.0 ** min(failures - 1, 32)) * (1 - jitter / 2)


class WorkQueue:
    """Keys to reconcile, in two lanes.

    Releases and servers go first: they are few, deduplicated, and a thousand bindings must not hold up a promotion.

    It is closed at first, as a standby's: no key is kept then, however long it lasts. What it begins with is told when
    it is opened.

    Args:
        clock: Monotonic seconds.
        backoff: Pauses after failures.
        jitter: Random numbers in [0, 1).
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        backoff: Backoff | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._jitter = jitter
        self._lanes: tuple[deque[Key], deque[Key]] = (deque(), deque())
        self._waiting_since: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._taken_at: dict[Key, float] = {}
        self._cost: dict[Key, float] = {}
        self._wakeup = asyncio.Event()
        self.is_open = False

    def open(self, keys: Iterable[Key]) -> None:
        """Take keys from now on, `keys` first."""
        self.is_open = True
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        """Keys that a worker could take now."""
        return len(self._waiting_since)

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._due)

    def add(self, key: Key) -> None:
        """Reconcile `key` as soon as a worker is free; once, however often it is added until then."""
        if not self.is_open:
            return
        self._due.pop(key, None)
        if key in self._taken_at:
            self._again.add(key)
        elif key not in self._waiting_since:
            self._waiting_since[key] = self._clock()
            self._lanes[key.kind == "AdapterBinding"].append(key)
            self._wakeup.set()

    def add_soon(self, key: Key) -> None:
        """Reconcile `key` after a pause in which more news of the same sort can come.

        The pause grows with how long the last reconcile of the key took, up to a limit: a server or a release reads all
        of its bindings, and each of those may change within the same second.
        """
        if key.kind == "AdapterBinding":
            self.add_after(key, BINDING_PAUSE_SECONDS)
        else:
            pause = PAUSE_PER_COST * self._cost.get(key, 0.0)
            self.add_after(key, min(MOST_PAUSE_SECONDS, max(LEAST_PAUSE_SECONDS, pause)))

    def add_for_progress(self, key: Key) -> None:
        """Reconcile `key` after the longer pause of what it only tells of others and decides nothing by.

        The pause is as long as the binding has waited that waits longest for a worker.
        """
        self.add_after(key, min(MOST_PROGRESS_PAUSE_SECONDS, max(PROGRESS_PAUSE_SECONDS, self._behind())))

    def _behind(self) -> float:
        bindings = self._lanes[True]
        return self._clock() - self._waiting_since[bindings[0]] if bindings else 0.0

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a key whose object is gone."""
        self._failures.pop(key, None)
        self._cost.pop(key, None)

    def add_after(self, key: Key, seconds: float) -> None:
        """Reconcile `key` in `seconds` at the latest; an earlier time that was already set stays."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        waits = key in self._waiting_since or key in self._again
        if not self.is_open or waits or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._wakeup.set()

    def retry(self, key: Key, *, at_least_seconds: float = 0.0) -> float:
        """Reconcile `key` again after its back-off, and return the pause in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = max(at_least_seconds, self._backoff.seconds(failures, self._jitter()))
        self.add_after(key, pause)
        return pause

    def succeeded(self, key: Key) -> None:
        """Forget earlier failures of `key`."""
        self._failures.pop(key, None)

    async def take(self) -> tuple[Key, float]:
        """Wait for a key that no other worker has; return it and how long it waited, in seconds.

        The caller must call `done` afterwards.
        """
        while True:
            pause = self._move_due()
            for lane in self._lanes:
                if lane:
                    key = lane.popleft()
                    now = self._taken_at[key] = self._clock()
                    return key, now - self._waiting_since.pop(key)
            self._wakeup.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._wakeup.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """Say that the worker has finished `key`; if it was added meanwhile, it waits again."""
        seconds = self._clock() - self._taken_at.pop(key)
        if key.kind != "AdapterBinding":
            self._cost[key] = seconds
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _move_due(self) -> float | None:
        """Move the delayed keys whose time has come; return the seconds until the next one."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)
            elif due <= self._clock():
                heapq.heappop(self._heap)
                self.add(key)
            else:
                return due - self._clock()
        return None

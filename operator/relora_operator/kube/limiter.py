"""A token bucket: how fast the operator may write."""

import asyncio
from collections.abc import Awaitable, Callable

_ROUNDING_SECONDS = 1e-6
"""Below this a wait is an error of rounding, and sleeping would not move the clock."""


class RateLimiter:
    """Lets `burst` calls pass at once and `rate` per second in the long run, in the order in which they came.

    Args:
        rate: Calls per second.
        burst: Calls that may pass without a wait after a pause.
        clock: Monotonic seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._filled_at = clock()
        self._closed_until = self._filled_at
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait until the next call may pass."""
        async with self._turn:
            while (wait := self._wait_seconds()) > 0:
                await self._sleep(wait)
            self._tokens -= 1

    def pause(self, seconds: float) -> None:
        """Let nothing pass for `seconds`, because the server asked for it."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def _wait_seconds(self) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        missing = (1 - self._tokens) / self._rate
        wait = max(missing, self._closed_until - now)
        return wait if wait > _ROUNDING_SECONDS else 0.0

"""Waits with a limit."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(reached: Callable[[], Awaitable[object]], *, limit_seconds: float, pause_seconds: float = 1.0) -> None:
    """Ask again and again until the answer is true.

    Raises:
        TimeoutError: It was not within the limit.
    """
    async with asyncio.timeout(limit_seconds):
        while not await reached():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(pause_seconds)

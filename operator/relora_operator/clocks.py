"""The two clocks of the operator: one for durations, one for the times that people read."""

import time
from datetime import UTC, datetime


def elapsed() -> float:
    """Return seconds from an arbitrary start, counting also the time in which the machine was suspended.

    A leader that slept must see that its Lease ran out, and Linux' CLOCK_MONOTONIC stands still during suspension.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def now() -> datetime:
    """Return the time of day in UTC."""
    return datetime.now(UTC)

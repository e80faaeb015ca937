"""Bounded retries of temporary failures, with exponential back-off and full jitter."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from relora_store.errors import TemporaryError

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """Calls again after a `TemporaryError`.

    The n-th pause is uniform over [0, min(longest, first·2ⁿ)] seconds: "full jitter", so that many clients that
    failed together do not return together.

    Attributes:
        attempts: Calls in all.
        first: Upper end of the first pause, in seconds.
        longest: Upper end of any pause, in seconds.
        sleep: Waits that many seconds.
    """

    attempts: int = 6
    first: float = 0.25
    longest: float = 10.0
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what `call` returns.

        Raises:
            TemporaryError: The last attempt failed too.
        """
        for attempt in range(self.attempts - 1):
            try:
                return call()
            except TemporaryError:
                # Jitter needs no secrecy.
                self.sleep(random.uniform(0, min(self.longest, self.first * 2**attempt)))  # noqa: S311 - see above
        return call()

"""Retries: how often, how long, and of what."""

import pytest

from relora_store.errors import NotFoundError, StoreError, TemporaryError
from relora_store.retry import Retry


def failing(times: int, error: type[StoreError] = TemporaryError) -> "Call":
    return Call(times, error)


class Call:
    def __init__(self, failures: int, error: type[StoreError]) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error("no")
        return "yes"


def test_temporary_failures_are_tried_again() -> None:
    pauses: list[float] = []
    call = failing(3)
    assert Retry(attempts=4, sleep=pauses.append)(call) == "yes"
    assert len(pauses) == 3


def test_the_last_failure_is_raised() -> None:
    call = failing(10)
    with pytest.raises(TemporaryError):
        Retry(attempts=4, sleep=lambda _: None)(call)
    assert call.calls == 4


def test_other_failures_are_not_tried_again() -> None:
    call = failing(1, NotFoundError)
    with pytest.raises(NotFoundError):
        Retry(sleep=lambda _: None)(call)
    assert call.calls == 1


def test_pauses_have_full_jitter_under_a_growing_bound() -> None:
    pauses: list[list[float]] = []
    for _ in range(200):
        taken: list[float] = []
        Retry(attempts=6, first=1, longest=4, sleep=taken.append)(failing(5))
        pauses.append(taken)
    longest = [max(column) for column in zip(*pauses, strict=True)]
    shortest = [min(column) for column in zip(*pauses, strict=True)]
    for seen, bound in zip(longest, [1, 2, 4, 4, 4], strict=True):
        assert 0.8 * bound < seen <= bound
    assert max(shortest) < 0.4

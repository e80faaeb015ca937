"""Work on a batch for which an accelerator may have no room."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def in_halves(batch: Sequence[T], work: Callable[[Sequence[T]], list[R]]) -> list[R]:
    """Return what `work` returns of a batch, an entry for each of its members; in halves where there is no room for it.

    Raises:
        torch.OutOfMemoryError: There is no room for one.
    """
    try:
        return work(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    torch.cuda.empty_cache()  # after the error is gone, and with it what the failed call held
    half = len(batch) // 2
    return [*in_halves(batch[:half], work), *in_halves(batch[half:], work)]

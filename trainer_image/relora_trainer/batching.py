"""Which examples form a batch: a pure function of the seed and the step, so that nothing needs to be stored to resume.

Short and long examples are kept apart to save padding: within a shuffled window of a few batches, examples are
sorted by length and cut into batches, whose order is shuffled again. An epoch's order depends on seed and epoch only.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

WINDOW_BATCHES = 8
EVALUATION_TOKENS = 8_192
"""Most tokens of a forward pass, padding included. If all of them are completions, their logits in float32 are 4 GiB
with a vocabulary of 128,000, and their logarithms as much again."""
TRAINING_TOKENS = 4_096
"""The same of a pass whose activations are kept for the gradient."""
TRAINING_COST = 2.5
"""Time of a forward and a backward pass against a forward pass alone."""


class BatchPlan:
    """The batches of every optimizer step."""

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        """Plan for examples of the given token counts.

        Args:
            lengths: Per example, its number of tokens.
            batch_size: Examples of one batch. Fewer examples than that make one batch of all of them.
            seed: Not negative.
        """
        if not lengths:
            raise ValueError("no examples to plan batches for")
        self._lengths = np.asarray(lengths)
        self._batch_size = min(batch_size, len(lengths))
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._order_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of one epoch; the examples that are left over differ from epoch to epoch."""
        return len(self._lengths) // self._batch_size

    def batch(self, step: int) -> tuple[int, ...]:
        """Return the indices of the examples of optimizer step `step`, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[position]

    def _order_epoch(self, epoch: int) -> tuple[tuple[int, ...], ...]:
        generator = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
        order = generator.permutation(len(self._lengths))
        order = order[: self.steps_per_epoch * self._batch_size]
        window = self._batch_size * WINDOW_BATCHES
        batches: list[tuple[int, ...]] = []
        for start in range(0, len(order), window):
            chosen = order[start : start + window]
            chosen = chosen[np.argsort(self._lengths[chosen], kind="stable")]
            batches += [tuple(row) for row in chosen.reshape(-1, self._batch_size).tolist()]
        return tuple(batches[index] for index in generator.permutation(len(batches)))


def by_length(lengths: Sequence[int], batch_size: int, max_tokens: int | None = None) -> list[list[int]]:
    """Return batches of indices by ascending length, for evaluation: every example once.

    Args:
        lengths: Per example, its number of tokens.
        batch_size: Most examples of a batch.
        max_tokens: Most tokens of a batch, as in `runs`; None for any number.
    """
    order = np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [order[run] for run in runs([lengths[index] for index in order], batch_size, max_tokens)]


def runs(lengths: Sequence[int], batch_size: int, max_tokens: int | None = None) -> Iterator[slice]:
    """Cut examples into runs that a device can hold at once, in their order.

    Args:
        lengths: Per example, its number of tokens.
        batch_size: Most examples of a run.
        max_tokens: Most tokens of a run whose examples are padded to the longest one; None for any number. An example
            that is longer is a run of its own.
    """
    start, longest = 0, 0
    for end, length in enumerate(lengths):
        longest = max(longest, length)
        is_full = end - start == batch_size or (max_tokens is not None and (end - start + 1) * longest > max_tokens)
        if is_full and end > start:
            yield slice(start, end)
            start, longest = end, length
    if lengths:
        yield slice(start, len(lengths))

"""Π_r of one matrix against the full SVD that mergekit-extract-lora takes of the same difference."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.method.timing import reaches, seconds
from bench.results import Row, at_most
from relora_trainer.placement import choose_placement
from relora_trainer.projection import Projection, project

RANKS = (16, 64)
"""An adapter's usual rank, and the rank of the stored delta."""
DECAY = 0.7
FULL_ROUNDS = 3
"""The most full SVDs: each takes as long as a hundred of what it is compared with."""
_ENERGY_LOST = 1e-4
_TIMES = 100


def rows(size: int, rounds: int) -> Iterator[Row]:
    """Yield time and lost energy for a `(size, size)` matrix.

    Each round is a full SVD between two projections of each rank, so that the interval is of both sides.
    """
    ours = _Ours(full_rank_delta(size))
    for rank in RANKS:
        ours.seconds(rank)
    ratios: dict[int, list[float]] = {rank: [] for rank in RANKS}
    found: list[Tensor] = []
    for _ in range(min(rounds, FULL_ROUNDS)):
        before = {rank: ours.seconds(rank) for rank in RANKS}
        found.clear()  # one decomposition in memory, not two
        theirs = seconds(lambda: found.extend(torch.linalg.svd(ours.delta, full_matrices=False)))
        for rank in RANKS:
            ratios[rank] += [theirs / before[rank], theirs / ours.seconds(rank)]
    squares = found[1].double().square()
    for rank in RANKS:
        name = f"Π_{rank} of {size}×{size}"
        yield reaches(f"{name}, full SVD ÷ ours", ratios[rank], _TIMES)
        lost = 1 - ours.energy(rank) / float(squares[:rank].sum())
        yield at_most(f"{name}, energy lost against the optimum", lost, _ENERGY_LOST)


def full_rank_delta(size: int) -> Tensor:
    """Return a matrix of full rank, its spectrum falling about as i to the power of −`DECAY`."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator) for _ in range(2))
    return (left * torch.arange(1, size + 1) ** -DECAY) @ right / size


class _Ours:
    """The projection as the delta step takes it here: in the precision of this machine, into memory that stays."""

    def __init__(self, delta: Tensor) -> None:
        self.delta = delta
        dtype = choose_placement().dtype
        self._rounded = None if dtype == torch.float32 else delta.to(dtype)

    def seconds(self, rank: int) -> float:
        """Return how long it takes, the rounding included."""

        def work() -> None:
            if self._rounded is not None:
                self._rounded.copy_(self.delta)
            self._project(rank)

        return seconds(work)

    def energy(self, rank: int) -> float:
        """Return what its components hold."""
        return float(self._project(rank).singular_values.double().square().sum())

    def _project(self, rank: int) -> Projection:
        return project(self.delta, rank, name="bench", rounded=self._rounded)

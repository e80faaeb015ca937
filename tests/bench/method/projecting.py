"""Π_r of one matrix against the full SVD that mergekit-extract-lora takes of the same difference."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.method.timing import reaches, seconds
from bench.results import Row, at_least
from relora_trainer.projection import project

RANKS = (16, 64)
"""An adapter's usual rank, and the rank of the stored delta."""
DECAY = 0.7
_ENERGY = 0.9999
_TIMES = 100


def rows(size: int, rounds: int) -> Iterator[Row]:
    """Yield time and captured energy for a `(size, size)` matrix.

    The full SVD is taken once, between two halves of the rounds of each rank: it is what takes long.
    """
    delta = full_rank_delta(size)
    before = {rank: _projections(delta, rank, rounds) for rank in RANKS}
    full: list[Tensor] = []
    theirs = seconds(lambda: full.extend(torch.linalg.svd(delta, full_matrices=False)))
    squares = full[1].double().square()
    for rank in RANKS:
        ours = before[rank] + _projections(delta, rank, rounds)
        name = f"Π_{rank} of {size}×{size}"
        yield reaches(f"{name}, full SVD ÷ ours", [theirs / each for each in ours], _TIMES)
        projection = project(delta, rank, name="bench")
        energy = float(projection.singular_values.double().square().sum() / squares[:rank].sum())
        yield at_least(f"{name}, energy against the optimum", energy, _ENERGY)


def full_rank_delta(size: int) -> Tensor:
    """Return a matrix of full rank, its spectrum falling about as i to the power of −`DECAY`."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator) for _ in range(2))
    return (left * torch.arange(1, size + 1) ** -DECAY) @ right / size


def _projections(delta: Tensor, rank: int, rounds: int) -> list[float]:
    project(delta, rank, name="bench")
    return [seconds(lambda: project(delta, rank, name="bench")) for _ in range(rounds)]

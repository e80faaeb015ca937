"""Π_r: the best rank-r approximation of a base's delta, by randomized subspace iteration.

Halko, Martinsson, Tropp (2011), algorithm 4.4, with a small core instead of an SVD of the weight-sized matrix.
It is the reading of Π_r in eq. 7 of arXiv 2606.02606: rank r and the target modules are the adapter's.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from relora_trainer.factors import Factors

ITERATIONS = 4
MIN_OVERSAMPLING = 16


@dataclass(frozen=True)
class Projection:
    """A rank-r approximation and what it captures.

    Attributes:
        factors: Balanced: A = √S·Vᵀ and B = U·√S, components in descending order, so that slices are projections too.
        singular_values: `(r,)` float32, descending.
        norm: ‖D‖_F of the projected matrix.
    """

    factors: Factors
    singular_values: Tensor
    norm: float

    def energy(self, rank: int | None = None) -> float:
        """Return the share of ‖D‖_F² that the first `rank` components hold, in [0, 1]; 1 for a zero matrix."""
        if self.norm == 0.0:
            return 1.0
        kept = float(self.singular_values[:rank].double().square().sum())
        return min(kept / self.norm**2, 1.0)


def seed_of(name: str) -> int:
    """Return the random seed of a tensor: the same for the same name on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def project(delta: Tensor, rank: int, *, name: str) -> Projection:
    """Return Π_rank(delta).

    Args:
        delta: `(out, in)` float32. A matrix of zeros gives rank 0.
        rank: Upper bound; capped at min(out, in).
        name: The tensor's name; it seeds the random test matrix.
    """
    rows, columns = delta.shape
    norm = float(torch.linalg.vector_norm(delta, dtype=torch.float64))
    rank = min(rank, rows, columns)
    if norm == 0.0:
        return Projection(Factors(delta.new_zeros(0, columns), delta.new_zeros(rows, 0)), delta.new_zeros(0), norm)
    width = min(rank + max(MIN_OVERSAMPLING, rank), rows, columns)
    generator = torch.Generator().manual_seed(seed_of(name))
    test_matrix = torch.randn(columns, width, generator=generator).to(delta)
    basis, _ = torch.linalg.qr(delta @ test_matrix)  # (rows, width)
    for _ in range(ITERATIONS):
        co_basis, _ = torch.linalg.qr(delta.T @ basis)  # (columns, width)
        basis, _ = torch.linalg.qr(delta @ co_basis)
    right, core = torch.linalg.qr(delta.T @ basis)  # basisᵀ·delta = coreᵀ·rightᵀ
    u, s, v_t = torch.linalg.svd(core.T)  # (width, width)
    s = s[:rank]
    root = s.sqrt()
    a = (root[:, None] * v_t[:rank]) @ right.T
    b = (basis @ u[:, :rank]) * root
    return Projection(Factors(a.contiguous(), b.contiguous()), s, norm)

"""Π_r: the best rank-r approximation of a base's delta, by randomized subspace iteration.

Halko, Martinsson, Tropp (2011), algorithm 4.4, with a small core instead of an SVD of the weight-sized matrix.
It is the reading of Π_r in eq. 7 of arXiv 2606.02606: rank r and the target modules are the adapter's.

The iteration only has to find the space of the first singular vectors. It may compute in bfloat16, whose rounding turns
that space a little; the last step, which takes what is stored from that space, is in float32.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from relora_trainer.factors import Factors

ITERATIONS = 3
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


def row_norms(matrix: Tensor) -> Tensor:
    """Return the 2-norm of each row, float32; NaN or infinity when an element is."""
    norms: Tensor = torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float32)
    return norms


def frobenius_norm(norms: Tensor) -> float:
    """Return ‖·‖_F of the matrix whose rows have these norms.

    Rows in float32 and their sum in float64 are as exact as float64 throughout, and 30 times as fast.
    """
    return float(torch.linalg.vector_norm(norms, dtype=torch.float64))


def spanning(matrix: Tensor) -> Tensor:
    """Return a nearly orthonormal basis of the columns of `matrix`, `(rows, width)` in any precision, in float32.

    Cholesky's QR is twice as fast as Householder's. What it loses of orthogonality matters only for what is stored,
    which comes from a proper QR; where it breaks down, for want of rank, that one takes its place.
    """
    wide = matrix.float()
    lower, failed = torch.linalg.cholesky_ex(wide.T @ wide)
    basis: Tensor
    if failed:
        basis, _ = torch.linalg.qr(wide)
    else:
        basis = torch.linalg.solve_triangular(lower.T, wide, upper=True, left=False)
    return basis


def _transposed_times(matrix: Tensor, basis: Tensor) -> Tensor:
    """Return matrixᵀ·basis, computed so that the large matrix is read along its rows: half again as fast."""
    return (basis.T @ matrix).T


def project(delta: Tensor, rank: int, *, name: str, iterate_in: torch.dtype = torch.float32) -> Projection:
    """Return Π_rank(delta).

    Args:
        delta: `(out, in)` float32. A matrix of zeros gives rank 0.
        rank: Upper bound; capped at min(out, in).
        name: The tensor's name; it seeds the random test matrix.
        iterate_in: Precision of the products of the iteration.

    Returns:
        The projection, on the device of `delta`, float32.
    """
    rows, columns = delta.shape
    norm = frobenius_norm(row_norms(delta))
    rank = min(rank, rows, columns)
    if norm == 0.0:
        return Projection(Factors(delta.new_zeros(0, columns), delta.new_zeros(rows, 0)), delta.new_zeros(0), norm)
    width = min(rank + max(MIN_OVERSAMPLING, rank), rows, columns)
    generator = torch.Generator().manual_seed(seed_of(name))
    iterated = delta.to(iterate_in)
    test_matrix = torch.randn(columns, width, generator=generator).to(iterated)
    basis = spanning(iterated @ test_matrix)  # (rows, width)
    for _ in range(ITERATIONS):
        co_basis = spanning(_transposed_times(iterated, basis.to(iterate_in)))  # (columns, width)
        basis = spanning(iterated @ co_basis.to(iterate_in))
    basis, _ = torch.linalg.qr(basis)
    right, core = torch.linalg.qr(_transposed_times(delta, basis))  # basisᵀ·delta = coreᵀ·rightᵀ
    u, s, v_t = torch.linalg.svd(core.T)  # (width, width)
    s = s[:rank]
    root = s.sqrt()
    a = (root[:, None] * v_t[:rank]) @ right.T
    b = (basis @ u[:, :rank]) * root
    return Projection(Factors(a.contiguous(), b.contiguous()), s, norm)

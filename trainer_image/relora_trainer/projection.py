"""Π_r: the best rank-r approximation of a base's delta, by randomized block Krylov iteration.

Musco and Musco (2015), algorithm 2, in the row space: from a random block Ω the blocks P_1, P_2, … span
DᵀD·Ω, (DᵀD)²·Ω, …, and D restricted to their span gives its first singular triplets. As all blocks are kept and not the
last one alone, narrow blocks reach what subspace iteration needs wide ones for, and spectra that hardly fall are
resolved, too. It is the reading of Π_r in eq. 7 of arXiv 2606.02606: rank r and the target modules are the adapter's.

The iteration may compute in bfloat16, whose rounding turns the space a little; what is stored is then taken in float32
from the best r directions of that space.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relora_trainer.factors import Factors

TOLERANCE = 5e-5
"""Share of the energy of the best approximation that may be left behind, as estimated: half of what is promised."""
MIN_BLOCKS = 3
MAX_BLOCKS = 8
MIN_BLOCK_WIDTH = 16
SLAB_ELEMENTS = {torch.float32: 1 << 18, torch.bfloat16: 1 << 22}
"""Elements of the matrix that are multiplied from both sides while they are in a CPU's cache; in bfloat16, where the
arithmetic takes less of the time, more, and few enough that no copy for the matrix units is of the whole."""
_FILLING = 1e-5


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


def project(delta: Tensor, rank: int, *, name: str, rounded: Tensor | None = None) -> Projection:
    """Return Π_rank(delta).

    Args:
        delta: `(out, in)` float32, finite. A matrix of zeros gives rank 0.
        rank: Upper bound; capped at min(out, in).
        name: The tensor's name; it seeds the random block that the iteration starts from.
        rounded: `delta` in bfloat16, for the products of the iteration where they are faster in it.

    Returns:
        The projection, on the device of `delta`, float32.
    """
    rows, columns = delta.shape
    norm = frobenius_norm(row_norms(delta))
    rank = min(rank, rows, columns)
    if norm == 0.0:
        return Projection(Factors(delta.new_zeros(0, columns), delta.new_zeros(rows, 0)), delta.new_zeros(0), norm)
    width = max(MIN_BLOCK_WIDTH, (rank + 1) // 2)
    if min(rows, columns) <= MAX_BLOCKS * width:
        u, s, v_t = torch.linalg.svd(delta, full_matrices=False)
    else:
        generator = torch.Generator().manual_seed(seed_of(name))
        basis, images = _row_space(delta if rounded is None else rounded, norm, rank, width, generator)
        if rounded is not None:
            basis = _strongest(images, rank).T @ basis
            images = delta @ (basis.T / norm)
        left, core = torch.linalg.qr(images)  # delta·basisᵀ / norm = left·core
        core_u, s, core_v_t = torch.linalg.svd(core)
        u, s, v_t = left @ core_u[:, :rank], s * norm, core_v_t[:rank] @ basis
    s = s[:rank]
    root = s.sqrt()
    a, b = root[:, None] * v_t[:rank], u[:, :rank] * root
    return Projection(Factors(a.contiguous(), b.contiguous()), s, norm)


def _row_space(matrix: Tensor, norm: float, rank: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return orthonormal rows whose space holds nearly all of the first `rank` right singular vectors.

    Args:
        matrix: `(rows, columns)`, in the precision of the products.
        norm: ‖matrix‖_F, by which everything is divided, so that no square of a small or a large matrix leaves float32.
        rank: How many of its components are asked for.
        width: Directions of a block.
        generator: Of the random directions.

    Returns:
        The basis, `(k, columns)` float32, and matrix·basisᵀ / norm, `(rows, k)` float32.
    """
    rows, columns = matrix.shape
    basis = torch.empty(MAX_BLOCKS * width, columns, device=matrix.device)
    images = torch.empty(rows, MAX_BLOCKS * width, device=matrix.device)

    def random_block() -> Tensor:
        return torch.randn(width, columns, generator=generator).to(matrix.device)

    following = _through(matrix, norm, random_block(), images[:, :width])
    energies: list[float] = []
    for start in range(0, MAX_BLOCKS * width, width):
        end = start + width
        block = _orthonormal(following, basis[:start], random_block())
        basis[start:end] = block
        if end == MAX_BLOCKS * width or _left_behind(energies, further=1) <= TOLERANCE:
            images[:, start:end] = matrix @ _scaled(block, norm, matrix.dtype)
            break
        following = _through(matrix, norm, block, images[:, start:end])
        energies.append(float(torch.linalg.eigvalsh(images[:, :end].T @ images[:, :end])[-rank:].sum()))
        if _left_behind(energies) <= TOLERANCE:
            break
    return basis[:end], images[:, :end]


def _strongest(images: Tensor, count: int) -> Tensor:
    """Return, as columns, the `count` orthonormal combinations of the columns of `images` that hold most energy."""
    vectors: Tensor = torch.linalg.eigh(images.T @ images)[1]
    return vectors[:, -count:]


def _left_behind(energies: Sequence[float], further: int = 0) -> float:
    """Estimate the share of the energy of the best approximation that the blocks so far do not capture.

    By a geometric series: each block adds a share of what the one before it added, the same share as the last one did.

    Args:
        energies: Captured by the first `rank` components after each block. What the first one captures does not tell
            how fast they converge, so that with less than `MIN_BLOCKS` everything may be left.
        further: After as many more blocks.
    """
    if len(energies) < MIN_BLOCKS:
        return 1.0
    before, last = energies[-2] - energies[-3], energies[-1] - energies[-2]
    if last <= 0.0:
        return 0.0  # nothing but rounding
    if last >= before:
        return 1.0
    ratio = last / before
    return last * ratio ** (1 + further) / (1 - ratio) / energies[-1]


def _through(matrix: Tensor, norm: float, block: Tensor, image: Tensor) -> Tensor:
    """Write matrix·blockᵀ / norm to `image`, and return block·matrixᵀ·matrix / norm², float32.

    On a CPU the matrix is read from memory once, a slab at a time, which is multiplied from both sides while the cache
    holds it. The slabs are summed in float32.
    """
    on_cpu = matrix.device.type == "cpu"
    height = max(1, SLAB_ELEMENTS[matrix.dtype] // matrix.shape[1]) if on_cpu else len(matrix)
    scaled = _scaled(block, norm, matrix.dtype)
    gathered = torch.zeros_like(block)
    for part, its_image in zip(matrix.split(height), image.split(height), strict=True):
        product = part @ scaled
        if part.dtype == gathered.dtype:
            gathered.addmm_(product.T, part)
        else:
            gathered += product.T @ part
        its_image.copy_(product)
    return gathered.div_(norm)


def _scaled(block: Tensor, norm: float, dtype: torch.dtype) -> Tensor:
    return (block.T / norm).to(dtype)


def _orthonormal(block: Tensor, basis: Tensor, filling: Tensor) -> Tensor:
    """Return orthonormal rows that hold what `block` adds to the space of the rows of `basis`.

    Where it adds nothing, as for a matrix of low rank, random directions fill them up. Cholesky's QR is several times
    as fast as Householder's, which takes its place where the block is too close to singular. Twice, because most of a
    block that went through the matrix lies in the space already, and what is left of it is inexact.
    """
    block = block / torch.linalg.vector_norm(block)
    block.add_(filling, alpha=_FILLING / float(torch.linalg.vector_norm(filling)))
    for _ in range(2):
        block = torch.addmm(block, block @ basis.T, basis, alpha=-1)
        lower, failed = torch.linalg.cholesky_ex(block @ block.T)
        block = torch.linalg.qr(block.T)[0].T if failed else torch.linalg.solve_triangular(lower, block, upper=False)
    return block

"""DoRA, arXiv 2402.09353: a weight is a direction W + ΔV and a magnitude m for each of its rows.

    W_DoRA = m/‖W + ΔV‖_row · (W + ΔV)

The factor g = m/‖W + ΔV‖_row is the gain that training gave each row. A re-adapted adapter keeps it: fused with the
base's delta is the direction, and the magnitude is set to

    m_init = g·‖W′ + ΔV_init‖_row,  so that the new weight is g·(W′ + ΔV_init)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from relora_trainer.factors import Factors


def row_gain(magnitude: Tensor, weight: Tensor, update: Factors) -> Tensor:
    """Return m/‖W + ΔV‖ of each row, `(out,)` float64.

    Args:
        magnitude: m, `(out,)`.
        weight: W, `(out, in)`, in any precision.
        update: ΔV, scaling folded in.
    """
    return magnitude.double() / updated_row_norms(weight, update)


def updated_row_norms(weight: Tensor, update: Factors) -> Tensor:
    """Return ‖W + B·A‖ of each row, `(out,)` float64, without forming B·A."""
    w, a, b = weight.double(), update.a.double(), update.b.double()
    return norms_of_sum(w.square().sum(1), w @ a.T, a @ a.T, b)


def norms_of_sum(squares: Tensor, projected: Tensor, gram: Tensor, b: Tensor) -> Tensor:
    """Return ‖W + B·A‖ of each row, `(out,)`, from what depends on W and A alone.

    ‖w + b·A‖² = ‖w‖² + 2·b·(A·w) + b·(A·Aᵀ)·bᵀ for each row w of W and b of B.

    Args:
        squares: ‖w‖², `(out,)`.
        projected: W·Aᵀ, `(out, r)`.
        gram: A·Aᵀ, `(r, r)`.
        b: B, `(out, r)`.
    """
    return (squares + ((2 * projected + b @ gram) * b).sum(1)).clamp_min(0).sqrt()


@dataclass(frozen=True)
class RowScale:
    """What the magnitude of any candidate of one module is computed from, without the weight.

    Every candidate's A is C·Q_aᵀ with the same orthonormal Q_a, hence W′·Aᵀ = (W′·Q_a)·Cᵀ and A·Aᵀ = C·Cᵀ.

    Attributes:
        gain: g, `(out,)` float64.
        squares: ‖w′‖², `(out,)` float64.
        projected: W′·Q_a, `(out, k)` float64.
    """

    gain: Tensor
    squares: Tensor
    projected: Tensor

    @classmethod
    def of(cls, gain: Tensor, weight: Tensor, q_a: Tensor) -> "RowScale":
        """Keep of W′ what is needed.

        Args:
            gain: g, `(out,)`.
            weight: W′, `(out, in)`, in any precision.
            q_a: Q_a, `(in, k)`.
        """
        w = weight.double()
        return cls(gain, w.square().sum(1), w @ q_a.double())

    def magnitude(self, core: Tensor, b: Tensor) -> Tensor:
        """Return m_init of ΔV = B·C·Q_aᵀ, `(out,)` float32.

        Args:
            core: C, `(r, k)`.
            b: B, `(out, r)`.
        """
        c = core.double()
        return (self.gain * norms_of_sum(self.squares, self.projected @ c.T, c @ c.T, b.double())).to(torch.float32)

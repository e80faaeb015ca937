"""Fusion of a base's delta with an old adapter, eq. 7 of arXiv 2606.02606.

    Θ_init(α, β) = α·Π_r(ΔΘ) + β·ΔΘ_i

The sum of two rank-r updates has rank 2r. It is brought back to rank r without ever forming a weight-sized matrix:
QR of the stacked factors once per module, then, per (α, β), an SVD of the small core and a balanced √S split.

That is an adapter's direction. DoRA's magnitude follows it, so that each row keeps the gain that it has learned.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from relora_trainer.dora import RowScale, row_gain
from relora_trainer.factors import Factors

VANISHED = 1e-12
"""A singular value below this share of the largest is rounding of a zero."""
NEW_ROW = 3**-0.5
"""Norm of a row of A in a new adapter, whose elements are uniform between ±1/√in."""

Weights = Callable[[str], tuple[Tensor, Tensor]]
"""Returns W and W′ of a module, `(out, in)` each, in any precision."""


@dataclass(frozen=True)
class ModuleFusion:
    """The part of one module's fusion that does not depend on (α, β).

    With [B_Δ B_i] = Q_b·R_b and [A_Δ; A_i]ᵀ = Q_a·R_a, the fused update is Q_b·(R_b·diag(α·I, β·I)·R_aᵀ)·Q_aᵀ.

    Attributes:
        q_b: `(out, k)` float32, orthonormal columns, k ≤ r_Δ + r.
        r_b: `(k, r_Δ + r)` float64.
        q_a: `(in, k')` float32, orthonormal columns.
        r_a: `(k', r_Δ + r)` float64.
        delta_rank: r_Δ, the number of leading columns that belong to the delta.
        rank: r, the rank of the fused factors: the old adapter's.
        row_scale: What DoRA's magnitude of a candidate is computed from; None for plain LoRA.
    """

    q_b: Tensor
    r_b: Tensor
    q_a: Tensor
    r_a: Tensor
    delta_rank: int
    rank: int
    row_scale: RowScale | None = None

    def stacked(self) -> Factors:
        """Return [B_Δ B_i] and [A_Δ; A_i], of rank r_Δ + r: the exact sum of the two updates, float32."""
        return Factors((self.q_a.double() @ self.r_a).T.float(), (self.q_b.double() @ self.r_b).float())

    def candidate(self, alpha: float, beta: float) -> Factors:
        """Return α·Π_r(ΔΘ) + β·ΔΘ_i as the best rank-r approximation, in balanced float32 factors with magnitude.

        Where the sum has a lower rank, and be it zero, the rest of A has rows of norm 1/√3, as those of a new adapter
        have on average, and the rest of B is zero: with both at zero no gradient would ever move them.
        """
        coefficients = self.r_b.new_full((self.r_b.shape[1],), beta)
        coefficients[: self.delta_rank] = alpha
        u, s, v_t = torch.linalg.svd((self.r_b * coefficients) @ self.r_a.T, full_matrices=False)
        kept = s[: self.rank]
        is_there = kept > VANISHED * kept.max()
        root = kept.sqrt() * is_there
        scale = torch.where(is_there, root, NEW_ROW)
        core = (scale[:, None] * v_t[: self.rank]).to(self.q_a.dtype)
        b = self.q_b @ (u[:, : self.rank] * root).to(self.q_b.dtype)
        magnitude = self.row_scale.magnitude(core, b) if self.row_scale is not None else None
        return Factors(core @ self.q_a.T, b, magnitude).padded(self.rank)


def prepare(old: Factors, delta: Factors | None, weights: tuple[Tensor, Tensor] | None = None) -> ModuleFusion:
    """Factorise one module's old update and its delta for any (α, β).

    Args:
        old: ΔΘ_i of the module, scaling folded in, of rank r.
        delta: Factors of ΔΘ, components in descending order; sliced to r here. None: the base's weight is unchanged.
        weights: W and W′, which DoRA needs.

    Raises:
        ValueError: The two are for weights of different shapes, or DoRA's weights are missing.
    """
    rows, columns = old.weight_shape
    delta = (delta or Factors(old.a.new_zeros(0, columns), old.b.new_zeros(rows, 0))).truncated(old.rank)
    if delta.weight_shape != old.weight_shape:
        raise ValueError(f"the delta is for a weight of shape {delta.weight_shape}, the adapter for {old.weight_shape}")
    q_b, r_b = torch.linalg.qr(torch.cat([delta.b.double(), old.b.double()], dim=1))
    q_a, r_a = torch.linalg.qr(torch.cat([delta.a.double(), old.a.double()]).T)
    q_a = q_a.float()
    row_scale = None
    if old.magnitude is not None:
        if weights is None:
            raise ValueError("the magnitude of DoRA depends on the weights of both bases")
        before, after = weights
        row_scale = RowScale.of(row_gain(old.magnitude, before, old), after, q_a)
    return ModuleFusion(q_b.float(), r_b, q_a, r_a, delta.rank, old.rank, row_scale)


class Fusion:
    """All modules of an adapter, ready for any (α, β)."""

    def __init__(
        self, old: Mapping[str, Factors], delta: Mapping[str, Factors], weights: Weights | None = None
    ) -> None:
        """Factorise every module.

        Args:
            old: The adapter's canonical factors by module; its modules and ranks are the result's.
            delta: The delta's factors by module; a module that it lacks is unchanged.
            weights: Asked for each module of DoRA, one after the other.
        """
        self.modules = {}
        for name, factors in old.items():
            both = weights(name) if weights is not None and factors.magnitude is not None else None
            self.modules[name] = prepare(factors, delta.get(name), both)

    def candidate(self, alpha: float, beta: float) -> dict[str, Factors]:
        """Return Θ_init(α, β) by module."""
        return self.mixed(dict.fromkeys(self.modules, (alpha, beta)))

    def mixed(self, coefficients: Mapping[str, tuple[float, float]]) -> dict[str, Factors]:
        """Return Θ_init with an (α, β) of its own for each module."""
        return {name: module.candidate(*coefficients[name]) for name, module in self.modules.items()}

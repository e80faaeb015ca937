"""The pair of low-rank factors that an adapter holds for one linear module."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """A low-rank update ΔW = B·A of one weight of shape `(out, in)`.

    Any scaling is folded in: what is multiplied is what is added to the weight.

    Attributes:
        a: `(r, in)`, PEFT's `lora_A`.
        b: `(out, r)`, PEFT's `lora_B`.
    """

    a: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        if self.a.ndim != 2 or self.b.ndim != 2 or self.a.shape[0] != self.b.shape[1]:  # noqa: PLR2004 - matrices
            raise ValueError(f"A {tuple(self.a.shape)} and B {tuple(self.b.shape)} are not a pair of factors")

    @property
    def rank(self) -> int:
        """The number of columns of B and rows of A."""
        return self.a.shape[0]

    @property
    def weight_shape(self) -> tuple[int, int]:
        """`(out, in)` of the weight that the update is for."""
        return self.b.shape[0], self.a.shape[1]

    def dense(self) -> Tensor:
        """Return B·A, `(out, in)`. For tests and small modules: nothing in a step densifies an update."""
        return self.b @ self.a

    def truncated(self, rank: int) -> "Factors":
        """Return the first `rank` components; the best approximation when they are ordered singular vectors."""
        return Factors(self.a[:rank], self.b[:, :rank])

    def padded(self, rank: int) -> "Factors":
        """Return factors of exactly `rank` with the same product, the missing components zero.

        Raises:
            ValueError: `rank` is smaller than the factors' own.
        """
        missing = rank - self.rank
        if missing < 0:
            raise ValueError(f"factors of rank {self.rank} cannot be padded to {rank}")
        return Factors(
            torch.nn.functional.pad(self.a, (0, 0, 0, missing)), torch.nn.functional.pad(self.b, (0, missing))
        )

    def to(self, dtype: torch.dtype) -> "Factors":
        """Return the factors in another precision."""
        return Factors(self.a.to(dtype), self.b.to(dtype))

"""What an adapter holds for one linear module: a pair of low-rank factors, and DoRA's magnitude."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

MAGNITUDE = "lora_magnitude_vector"


@dataclass(frozen=True)
class Factors:
    """A low-rank update ΔW = B·A of one weight of shape `(out, in)`.

    Canonical factors have their scaling folded in: what is multiplied is what is added to the weight.

    Attributes:
        a: `(r, in)`, PEFT's `lora_A`.
        b: `(out, r)`, PEFT's `lora_B`.
        magnitude: `(out,)` float32, DoRA's `lora_magnitude_vector`; None for plain LoRA.
    """

    a: Tensor
    b: Tensor
    magnitude: Tensor | None = None

    def __post_init__(self) -> None:
        if self.a.ndim != 2 or self.b.ndim != 2 or self.a.shape[0] != self.b.shape[1]:  # noqa: PLR2004 - matrices
            raise ValueError(f"A {tuple(self.a.shape)} and B {tuple(self.b.shape)} are not a pair of factors")
        if self.magnitude is not None and self.magnitude.shape != self.b.shape[:1]:
            raise ValueError(f"the magnitude {tuple(self.magnitude.shape)} is not one number for each row of B")

    @property
    def rank(self) -> int:
        """The number of columns of B and rows of A."""
        return self.a.shape[0]

    @property
    def weight_shape(self) -> tuple[int, int]:
        """`(out, in)` of the weight that the update is for."""
        return self.b.shape[0], self.a.shape[1]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What there is, by PEFT's names."""
        pair = {"lora_A": self.a, "lora_B": self.b}
        return pair if self.magnitude is None else {**pair, MAGNITUDE: self.magnitude}

    def dense(self) -> Tensor:
        """Return B·A, `(out, in)`. For tests and small modules: nothing in a step densifies an update."""
        return self.b @ self.a

    def truncated(self, rank: int) -> "Factors":
        """Return the first `rank` components; the best approximation when they are ordered singular vectors."""
        return replace(self, a=self.a[:rank], b=self.b[:, :rank])

    def padded(self, rank: int) -> "Factors":
        """Return factors of exactly `rank` with the same product, the missing components zero.

        Raises:
            ValueError: `rank` is smaller than the factors' own.
        """
        missing = rank - self.rank
        if missing < 0:
            raise ValueError(f"factors of rank {self.rank} cannot be padded to {rank}")
        pad = torch.nn.functional.pad
        return replace(self, a=pad(self.a, (0, 0, 0, missing)), b=pad(self.b, (0, missing)))

    def to(self, dtype: torch.dtype) -> "Factors":
        """Return the factors in another precision; not the magnitude, whose rounding would change a whole row."""
        return replace(self, a=self.a.to(dtype), b=self.b.to(dtype))


def named_tensors(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Return the tensors of all modules as `<module>.<PEFT's name>`."""
    return {f"{module}.{name}": tensor for module, pair in factors.items() for name, tensor in pair.tensors.items()}

"""Where training starts: the factors of each module and the constant that multiplies them.

Each strategy has one start. ReLoRA's Θ_init comes balanced from `fuse`; the baselines train factors in PEFT's own form,
so that they are what a user of PEFT would get.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from relora_trainer.adapter import Adapter
from relora_trainer.factors import Factors
from relora_trainer.heads import Head
from relora_trainer.projection import seed_of

HEAD_DEVIATION = 0.02
"""Of bases whose configuration does not say how their layers were initialised."""


@dataclass(frozen=True)
class Initialization:
    """The start of a training.

    Attributes:
        factors: By module.
        scaling: What B·A of each module is multiplied with.
        head: The class head of a classifier.
    """

    factors: Mapping[str, Factors]
    scaling: Mapping[str, float]
    head: Head | None = None


def balanced(factors: Mapping[str, Factors], head: Head | None = None) -> Initialization:
    """Return factors with the scaling folded in, and the old head, as a start."""
    return Initialization(factors, dict.fromkeys(factors, 1.0), head)


def untouched(adapter: Adapter) -> Initialization:
    """Return the old adapter exactly as it is stored."""
    return Initialization(adapter.stored, adapter.scaling, adapter.head)


def fresh(
    adapter: Adapter, seed: int, magnitudes: Mapping[str, Tensor], *, head_deviation: float = HEAD_DEVIATION
) -> Initialization:
    """Return a new adapter of the old one's modules, ranks, scaling and classes, initialised as PEFT does it.

    A is uniform in ±1/√in (Kaiming with a = √5), B is zero and DoRA's magnitude is that of the base's rows, so that
    training starts at the bare base. A class head is normal, as transformers initialises the linear layers of a model.
    Each module has random numbers of its own: the start does not depend on which other modules there are.

    Args:
        adapter: The old one.
        seed: Of all random numbers.
        magnitudes: ‖W′‖_row by module, `(out,)` float32; empty for plain LoRA.
        head_deviation: Standard deviation of a class head, the base's `initializer_range`.
    """
    factors = {}
    for name, old in adapter.stored.items():
        generator = _generator(seed, name)
        bound = 1 / math.sqrt(old.weight_shape[1])
        a = torch.empty_like(old.a).uniform_(-bound, bound, generator=generator)
        factors[name] = Factors(a, torch.zeros_like(old.b), magnitudes.get(name))
    if adapter.head is None:
        return Initialization(factors, adapter.scaling)
    generator = _generator(seed, adapter.head.name)
    weight = torch.empty_like(adapter.head.weight).normal_(std=head_deviation, generator=generator)
    return Initialization(factors, adapter.scaling, replace(adapter.head, weight=weight))


def _generator(seed: int, module: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(f"{seed}:{module}"))

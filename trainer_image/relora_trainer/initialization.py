"""Where training starts: the factors of each module and the constant that multiplies them.

Each strategy has one start. ReLoRA's Θ_init comes balanced from `fuse`; the baselines train factors in PEFT's own form,
so that they are what a user of PEFT would get.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from relora_trainer.adapter import Adapter
from relora_trainer.factors import Factors
from relora_trainer.projection import seed_of


@dataclass(frozen=True)
class Initialization:
    """The start of a training.

    Attributes:
        factors: By module.
        scaling: What B·A of each module is multiplied with.
    """

    factors: Mapping[str, Factors]
    scaling: Mapping[str, float]


def balanced(factors: Mapping[str, Factors]) -> Initialization:
    """Return factors with the scaling folded in as a start."""
    return Initialization(factors, dict.fromkeys(factors, 1.0))


def untouched(adapter: Adapter) -> Initialization:
    """Return the old adapter exactly as it is stored."""
    return Initialization(adapter.stored, adapter.scaling)


def fresh(adapter: Adapter, seed: int) -> Initialization:
    """Return a new adapter of the old one's modules, ranks and scaling, initialised as PEFT does it.

    A is uniform in ±1/√in (Kaiming with a = √5) and B is zero, so that training starts at the bare base. Each module
    has random numbers of its own: the start does not depend on which other modules there are.
    """
    factors = {}
    for name, old in adapter.stored.items():
        generator = torch.Generator().manual_seed(seed_of(f"{seed}:{name}"))
        bound = 1 / math.sqrt(old.weight_shape[1])
        a = torch.empty_like(old.a).uniform_(-bound, bound, generator=generator)
        factors[name] = Factors(a, torch.zeros_like(old.b))
    return Initialization(factors, adapter.scaling)

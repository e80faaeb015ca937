"""Tuners of a tiny base that learns to tell a label by the last token of its prompt."""

from dataclasses import replace

import torch

from relora_trainer.factors import Factors
from relora_trainer.heads import Head
from relora_trainer.items import Item, ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.schedule import Schedule
from relora_trainer.tuning import StepStatistics, Tuner
from samples.tinymodels import tiny_base, tiny_classifier

MODULES = {"model.layers.0.self_attn.q_proj": (32, 32), "model.layers.1.mlp.down_proj": (32, 48)}
SCHEDULE = Schedule(20, 4, 1e-2, 1e-4, 1e-1, 1e-2)
CHOICES = ((5, 2), (6, 7, 2), (8, 2))


def copy_task(count: int = 48) -> ItemSet:
    """Return examples whose label is told by the last token of the prompt."""
    generator = torch.Generator().manual_seed(0)
    items = []
    for index in range(count):
        label = index % len(CHOICES)
        noise = torch.randint(20, 60, (3 + index % 5,), generator=generator).tolist()
        items.append(Item(f"{index:064d}", (*noise, 10 + label), label))
    return ItemSet(tuple(items), CHOICES, 0)


def initial(*, use_dora: bool = False) -> dict[str, Factors]:
    """Return the factors that the tuners start from."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: Factors(
            torch.randn(4, columns, generator=generator) * 0.1,
            torch.randn(rows, 4, generator=generator) * 0.1,
            1.5 + torch.rand(rows, generator=generator) if use_dora else None,
        )
        for name, (rows, columns) in MODULES.items()
    }


def make_tuner(
    *,
    items: ItemSet | None = None,
    schedule: Schedule = SCHEDULE,
    dropout: float = 0.1,
    micro_batch_size: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    use_dora: bool = False,
) -> Tuner:
    """Return a tuner of two modules, in batches of eight."""
    model = tiny_base(dtype=dtype)
    return Tuner(
        model,
        LoraModel(model, dict.fromkeys(MODULES, 4), dropout=dropout, use_dora=use_dora),
        items or copy_task(),
        schedule,
        initial=initial(use_dora=use_dora),
        batch_size=8,
        micro_batch_size=micro_batch_size,
        seed=seed,
    )


def make_classifier_tuner() -> Tuner:
    """Return a tuner of a classifier and its head, for the same examples."""
    model = tiny_classifier(len(CHOICES))
    items = copy_task()
    return Tuner(
        model,
        LoraModel(model, dict.fromkeys(MODULES, 4), dropout=0.1, with_head=True),
        replace(items, choices=tuple((row,) for row, _ in enumerate(items.choices))),
        SCHEDULE,
        initial=initial(),
        head=Head("score", torch.linspace(-1, 1, 3 * 32).reshape(3, 32), torch.float32),
        batch_size=8,
        micro_batch_size=8,
        seed=0,
    )


def bits(tuner: Tuner) -> list[bytes]:
    """Return the parameters that a tuner holds, bit by bit."""
    return [parameter.detach().numpy().tobytes() for parameter in tuner._parameters.values()]


def steps(tuner: Tuner, count: int) -> list[StepStatistics]:
    """Make so many steps."""
    return [tuner.step() for _ in range(count)]

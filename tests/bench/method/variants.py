"""What is compared: the strategies, ReLoRA with a part of it changed, and in which order they are measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from bench.method.searchers import GRID, PAPER
from relora_contract.readaptation import Readaptation
from relora_contract.task import Gate

GATES = [Gate(metric="Accuracy", max_regression="0.08")]
"""What 400 examples can decide with a power of 80 % when a quarter of the answers change, as after the hard update."""
RELORA, PORT, FINE_TUNE, SCRATCH = "ReLoRA", "PortLLM", "PortLLMFineTune", "Scratch"
STRATEGIES = (RELORA, FINE_TUNE, SCRATCH)
NO_SEARCH, PER_MODULE = "no search", "coefficients of each module"
ABLATIONS: Mapping[str, Mapping[str, Mapping[str, JsonValue]]] = {
    NO_SEARCH: {"search": {"budget": 1}},
    GRID: {},
    PAPER: {},
    PER_MODULE: {"search": {"granularity": "PerModule"}},
    "no anchor": {"tuning": {"anchorStrong": "0", "anchorWeak": "0"}},
    "no schedule": {"tuning": {"minLearningRate": "5e-4"}},
}
"""By name, the settings that differ from ReLoRA's; the searches are exchanged by `searchers`."""
BATCH = 16


def until_ready(strategy: str) -> str:
    """Return the variant of a strategy that ends at its first passed gate, as a binding does by default.

    The others run every step to its end. They tell how good an adapter gets, and that it is ready at the ends of steps
    only; this one asks the gate as soon as the monitor says that the adapter is good enough.
    """
    return f"{strategy} until ready"


_UNTIL_READY: Mapping[str, str] = {until_ready(strategy): strategy for strategy in STRATEGIES}


@dataclass(frozen=True)
class Key:
    """Which cell: a variant for a task, on an update of a size, with a seed."""

    task: str
    update: str
    seed: int
    variant: str

    def __str__(self) -> str:
        return f"{self.task}, {self.update} update, seed {self.seed}: {self.variant}"


def order(
    tasks: Sequence[str],
    updates: Sequence[str],
    seeds: Sequence[int],
    ablations: Sequence[str],
    *,
    with_until_ready: bool,
) -> list[Key]:
    """Return the cells in an order in which an interrupted run says most.

    The first seed on all updates, the other seeds on the first update, then what ends when it is ready, on all updates
    with the first seed, and at last every ablation on the first update with the first seed.
    """
    first, *others = updates
    return [
        *_of_each(STRATEGIES, tasks, first, seeds[:1]),
        *(Key(task, update, seeds[0], PORT) for update in updates for task in tasks),
        *(key for update in others for key in _of_each(STRATEGIES, tasks, update, seeds[:1])),
        *_of_each(STRATEGIES, tasks, first, seeds[1:]),
        *(
            key
            for update in updates
            if with_until_ready
            for key in _of_each(tuple(_UNTIL_READY), tasks, update, seeds[:1])
        ),
        *(Key(task, first, seeds[0], name) for name in ablations for task in tasks),
    ]


def _of_each(variants: Sequence[str], tasks: Sequence[str], update: str, seeds: Sequence[int]) -> Iterator[Key]:
    """Yield what is compared with each other one after the other, so that whatever the machine does meets all."""
    for seed in seeds:
        for task in tasks:
            for name in variants:
                yield Key(task, update, seed, name)


def readaptation(variant: str, *, seed: int, epochs: int) -> Readaptation:
    """Return what a binding would ask for; all steps, but for the variants of `until_ready`."""
    changes = ABLATIONS.get(variant, {})
    asked: dict[str, JsonValue] = {
        "strategy": RELORA if variant in ABLATIONS else _UNTIL_READY.get(variant, variant),
        "seed": seed,
        "search": dict(changes.get("search", {})),
        "tuning": {"epochs": epochs, "batchSize": BATCH, **changes.get("tuning", {})},
    }
    if variant not in _UNTIL_READY:
        asked["refine"] = "Always"
    return Readaptation.model_validate(asked)

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


@dataclass(frozen=True)
class Key:
    """Which cell: a variant for a task, on an update of a size, with a seed."""

    task: str
    update: str
    seed: int
    variant: str

    def __str__(self) -> str:
        return f"{self.task}, {self.update} update, seed {self.seed}: {self.variant}"


def order(tasks: Sequence[str], updates: Sequence[str], seeds: Sequence[int], ablations: Sequence[str]) -> list[Key]:
    """Return the cells in an order in which an interrupted run says most.

    The first seed on all updates, the other seeds on the first update, and at last every ablation on the first update
    with the first seed.
    """
    first, *others = updates
    return [
        *_strategies(tasks, first, seeds[:1]),
        *(Key(task, update, seeds[0], PORT) for update in updates for task in tasks),
        *(key for update in others for key in _strategies(tasks, update, seeds[:1])),
        *_strategies(tasks, first, seeds[1:]),
        *(Key(task, first, seeds[0], name) for name in ablations for task in tasks),
    ]


def _strategies(tasks: Sequence[str], update: str, seeds: Sequence[int]) -> Iterator[Key]:
    for seed in seeds:
        for task in tasks:
            for name in STRATEGIES:
                yield Key(task, update, seed, name)


def readaptation(variant: str, *, seed: int, epochs: int) -> Readaptation:
    """Return what a binding would ask for: all steps, so that one run tells when its gate passed and how it ends."""
    changes = ABLATIONS.get(variant, {})
    asked: dict[str, JsonValue] = {
        "strategy": RELORA if variant in ABLATIONS else variant,
        "refine": "Always",
        "seed": seed,
        "search": dict(changes.get("search", {})),
        "tuning": {"epochs": epochs, "batchSize": BATCH, **changes.get("tuning", {})},
    }
    return Readaptation.model_validate(asked)

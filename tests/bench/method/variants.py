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
READY, END = "WhenBelowGate", "Always"
BATCH = 16


@dataclass(frozen=True)
class Key:
    """Which cell: a variant for a task, on an update of a size, with a seed, to readiness or to the end."""

    task: str
    update: str
    seed: int
    variant: str
    refine: str

    def __str__(self) -> str:
        goal = "to its gate" if self.refine == READY else "to its end"
        return f"{self.task}, {self.update} update, seed {self.seed}: {self.variant} {goal}"


def order(
    tasks: Sequence[str],
    updates: Sequence[str],
    seeds: Sequence[int],
    ablations: Sequence[str],
    goals: Sequence[str] = (READY, END),
) -> list[Key]:
    """Return the cells in an order in which an interrupted run says most.

    The first seed on all updates, the other seeds on the first update, every ablation on the first update with the
    first seed, and at last the other seeds on the other updates. `goals` are those on the first update.
    """
    first, *others = updates
    return [
        *_strategies(tasks, first, seeds[:1], goals),
        *(Key(task, update, seeds[0], PORT, READY) for update in updates for task in tasks),
        *(key for update in others for key in _strategies(tasks, update, seeds[:1], (READY,))),
        *_strategies(tasks, first, seeds[1:], goals),
        *(Key(task, first, seeds[0], name, END) for name in ablations for task in tasks),
        *(key for update in others for key in _strategies(tasks, update, seeds[1:], (READY,))),
    ]


def _strategies(tasks: Sequence[str], update: str, seeds: Sequence[int], goals: Sequence[str]) -> Iterator[Key]:
    for seed in seeds:
        for refine in goals:
            for task in tasks:
                for name in STRATEGIES:
                    yield Key(task, update, seed, name, refine)


def readaptation(variant: str, refine: str, *, seed: int, epochs: int) -> Readaptation:
    """Return what a binding would ask for."""
    changes = ABLATIONS.get(variant, {})
    asked: dict[str, JsonValue] = {
        "strategy": RELORA if variant in ABLATIONS else variant,
        "refine": refine,
        "seed": seed,
        "search": dict(changes.get("search", {})),
        "tuning": {"epochs": epochs, "batchSize": BATCH, **changes.get("tuning", {})},
    }
    return Readaptation.model_validate(asked)

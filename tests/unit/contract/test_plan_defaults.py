"""The defaults that the API documents are the ones that the trainer carries out."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from relora_contract.readaptation import Plan, Readaptation, Refine, Search, Strategy, Tuning, plan

SETTINGS: tuple[type[BaseModel], ...] = (Readaptation, Search, Tuning)
RENAMED = {"budget": "search_budget"}


def documented() -> Iterator[tuple[str, str]]:
    for model in SETTINGS:
        for name, field in model.model_fields.items():
            if found := re.search(r"Default ([^ ]+?)( to ([^ ]+?))?\.( |$)", field.description or ""):
                low, _, high, _ = found.groups()
                yield RENAMED.get(name, name), f"{low} to {high}" if high else low


@pytest.mark.parametrize(("name", "text"), sorted(documented()))
def test_documented_default_is_the_effective_one(name: str, text: str) -> None:
    value = getattr(plan(Readaptation()), name)
    assert (f"{value.min} to {value.max}" if " to " in text else str(value)) == text


def test_every_default_is_documented() -> None:
    assert {name for name, _ in documented()} == set(Plan.model_fields)


def test_given_values_win_also_when_they_are_zero() -> None:
    given = Readaptation.model_validate(
        {
            "strategy": "PortLLM",
            "refine": "Always",
            "seed": 0,
            "search": {"alpha": {"min": "-1", "max": "0"}},
            "tuning": {"anchorWeak": "0"},
        }
    )
    made = plan(given)
    assert (made.strategy, made.refine, made.seed) == (Strategy.PORTLLM, Refine.ALWAYS, 0)
    assert (made.alpha.min, made.alpha.max, made.anchor_weak) == ("-1", "0", "0")
    assert made.search_budget == Plan().search_budget


@pytest.mark.parametrize(
    ("strategy", "steps", "uses_delta"),
    [
        (Strategy.RELORA, ("port", "fuse", "recover", "refine"), True),
        (Strategy.PORTLLM, ("port",), False),
        (Strategy.PORTLLM_FINE_TUNE, ("port", "recover", "refine"), False),
        (Strategy.SCRATCH, ("recover", "refine"), False),
    ],
)
def test_strategy_decides_the_steps(strategy: Strategy, steps: tuple[str, ...], *, uses_delta: bool) -> None:
    made = Plan(strategy=strategy)
    assert (made.steps, made.uses_delta, made.anchored) == (steps, uses_delta, strategy is Strategy.RELORA)

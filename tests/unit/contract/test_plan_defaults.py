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
            "strategy": "ReLoRA",
            "refine": "Always",
            "seed": 0,
            "search": {"alpha": {"min": "-1", "max": "0"}},
            "tuning": {"anchorWeak": "0"},
        }
    )
    made = plan(given)
    assert (made.strategy, made.refine, made.seed) == (Strategy.RELORA, Refine.ALWAYS, 0)
    assert (made.alpha.min, made.alpha.max, made.anchor_weak) == ("-1", "0", "0")
    assert made.search_budget == Plan().search_budget


SEARCH: dict[str, object] = {
    "granularity": "PerModule",
    "budget": 9,
    "alpha": {"min": "0", "max": "2"},
    "beta": {"min": "1", "max": "2"},
}
ANCHORS: dict[str, object] = {"anchorStrong": "1", "anchorWeak": "2"}
TRAINING: dict[str, object] = {
    "epochs": 7,
    "recoverFraction": "0.7",
    "learningRate": "7e-4",
    "minLearningRate": "7e-5",
    "batchSize": 7,
}


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(
    ("group", "settings", "users"),
    [
        ("search", SEARCH, {Strategy.RELORA}),
        ("search", {"validationSamples": 17}, set(Strategy)),  # where the monitor examples begin
        ("tuning", ANCHORS, {Strategy.RELORA}),
        ("tuning", TRAINING, set(Strategy) - {Strategy.PORTLLM}),
    ],
)
def test_only_what_the_strategy_uses_is_planned(
    group: str, settings: dict[str, object], users: set[Strategy], strategy: Strategy
) -> None:
    default = plan(Readaptation(strategy=strategy))
    for name, value in settings.items():
        given = Readaptation.model_validate({"strategy": strategy, group: {name: value}})
        assert (plan(given) != default) is (strategy in users), name


def test_every_setting_is_planned_for_the_default_strategy() -> None:
    settings = {"search": {**SEARCH, "validationSamples": 17}, "tuning": {**ANCHORS, **TRAINING}}
    made = plan(Readaptation.model_validate({**settings, "refine": "Always", "seed": 5}))
    assert [name for name in Plan.model_fields if getattr(made, name) == getattr(Plan(), name)] == ["strategy"]


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

"""How an adapter is carried to a new base: the strategy and its settings.

The same models are the tenant's API and the trainer's request. Optional fields have no default in the schema,
so that stored objects are not rewritten; `plan` supplies the defaults.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from relora_contract.crd.rules import cel, validations
from relora_contract.model import Model
from relora_contract.scalars import Decimal

_NOT_NEGATIVE = validations(cel("double(self) >= 0.0", "give a number that is not negative"))


class Strategy(StrEnum):
    """How far re-adaptation goes."""

    RELORA = "ReLoRA"
    """Port, search the fusion coefficients, then tune in two anchored stages."""
    PORTLLM = "PortLLM"
    """Evaluate the old adapter unchanged on the new base, and no more."""
    PORTLLM_FINE_TUNE = "PortLLMFineTune"
    """Port, then fine-tune the old factors as they are: no search, no anchor."""
    SCRATCH = "Scratch"
    """Train a new adapter of the old one's ranks and target modules: nothing is ported, no search, no anchor."""


STEPS: Mapping[Strategy, tuple[str, ...]] = {
    Strategy.RELORA: ("port", "fuse", "recover", "refine"),
    Strategy.PORTLLM: ("port",),
    Strategy.PORTLLM_FINE_TUNE: ("port", "recover", "refine"),
    Strategy.SCRATCH: ("recover", "refine"),
}
"""The steps of each strategy, in order. Each may ask the gate once."""
DEFAULT_STRATEGY = Strategy.RELORA


def reads_delta(strategy: Strategy) -> bool:
    """Tell whether a step of the strategy reads the projected difference of the two bases."""
    return "fuse" in STEPS[strategy]


class Refine(StrEnum):
    """When the steps after a passed gate still run."""

    WHEN_BELOW_GATE = "WhenBelowGate"
    ALWAYS = "Always"


class Interval(Model):
    """Closed interval of a coefficient."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel("double(self.min) < double(self.max)", "min is not below max: give a range", field=".min")
        )
    )

    min: Decimal = Field(description="Lower end.")
    max: Decimal = Field(description="Upper end.")


class Granularity(StrEnum):
    """What a pair of fusion coefficients is for."""

    GLOBAL = "Global"
    """One pair for the whole adapter, as in the paper."""
    PER_MODULE = "PerModule"
    """One pair for each adapted module, fitted by gradient after the search of a global one."""


class Search(Model):
    """Bayesian search of the fusion coefficients α and β, for the strategy ReLoRA."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.granularity) || self.granularity != 'PerModule' || !has(self.budget) || self.budget >= 5",
                "PerModule needs a probe of (0, 1), a fit that costs as much as three, and one of its result: "
                "give a budget of at least 5, or leave granularity out",
                field=".budget",
            ),
            cel(
                "!has(self.alpha) || (double(self.alpha.min) <= 0.0 && double(self.alpha.max) >= 0.0)",
                "the range of α leaves out 0: widen it, the old adapter unchanged is (0, 1)",
                field=".alpha",
            ),
            cel(
                "!has(self.beta) || (double(self.beta.min) <= 1.0 && double(self.beta.max) >= 1.0)",
                "the range of β leaves out 1: widen it, the old adapter unchanged is (0, 1)",
                field=".beta",
            ),
        )
    )

    granularity: Granularity | None = Field(
        default=None,
        description=(
            "Global: one (α, β) for the whole adapter. PerModule: one for each module, fitted by gradient on the "
            "validation examples and used only where it is better than (0, 1) and the best global one. Default Global."
        ),
    )
    budget: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None,
        description=(
            "Most probes, (0, 1) and the initial design included; a pass of the fit of PerModule costs as much as 2.5. "
            "Default 20."
        ),
    )
    validation_samples: Annotated[int, Field(ge=16, le=10_000)] | None = Field(
        default=None,
        description=(
            "Validation examples of a full probe, at most half of the file: others watch the training. Default 512."
        ),
    )
    alpha: Interval | None = Field(
        default=None,
        description=(
            "Range of α, the share of the base's delta, with 0 in it. Default 0 to 1. Below 0 the release would be "
            "undone."
        ),
    )
    beta: Interval | None = Field(
        default=None, description="Range of β, the old adapter's factor, with 1 in it. Default 0 to 3."
    )


class Tuning(Model):
    """The two stages of fine-tuning; the strategy ReLoRA anchors them."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "double(has(self.minLearningRate) ? self.minLearningRate : '1e-5') <= "
                "double(has(self.learningRate) ? self.learningRate : '5e-4')",
                "the end of the cosine is above its start: lower minLearningRate, or raise learningRate",
                field=".minLearningRate",
            )
        )
    )

    epochs: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="Both stages. Default 2.")
    recover_fraction: Decimal | None = Field(
        default=None,
        description="Share of the steps that belong to the first stage. Default 0.2.",
        json_schema_extra=validations(
            cel("double(self) > 0.0 && double(self) < 1.0", 'give a share between 0 and 1, as in "0.2"')
        ),
    )
    anchor_strong: Decimal | None = Field(
        default=None, description="λ₁ of the first stage. Default 1e-3.", json_schema_extra=_NOT_NEGATIVE
    )
    anchor_weak: Decimal | None = Field(
        default=None, description="λ₂ of the second stage. Default 1e-4.", json_schema_extra=_NOT_NEGATIVE
    )
    learning_rate: Decimal | None = Field(
        default=None,
        description="Constant in the first stage, start of the second's cosine. Default 5e-4.",
        json_schema_extra=validations(cel("double(self) > 0.0", "give a number above 0")),
    )
    min_learning_rate: Decimal | None = Field(
        default=None, description="End of the cosine. Default 1e-5.", json_schema_extra=_NOT_NEGATIVE
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="Examples of one optimizer step. Default 32."
    )


class Readaptation(Model):
    """Strategy and settings."""

    strategy: Strategy | None = Field(
        default=None,
        description=(
            "ReLoRA: port, search the fusion coefficients, tune in two anchored stages. PortLLM: the old adapter "
            "unchanged, or nothing. PortLLMFineTune: port, then fine-tune without search and anchor. Scratch: a new "
            "adapter of the old one's ranks and targets. Default ReLoRA."
        ),
    )
    search: Search | None = None
    tuning: Tuning | None = None
    refine: Refine | None = Field(
        default=None,
        description=(
            "WhenBelowGate ends at the first passed gate; Always runs every step, as the paper does. "
            "Default WhenBelowGate."
        ),
    )
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(default=None, description="Default 0.")

    @property
    def effective_strategy(self) -> Strategy:
        """`strategy` with its default."""
        return self.strategy or DEFAULT_STRATEGY


_OF_A_STEP: Mapping[str, frozenset[str]] = {
    "fuse": frozenset({"granularity", "search_budget", "alpha", "beta", "anchor_strong", "anchor_weak"}),
    "recover": frozenset({"epochs", "recover_fraction", "learning_rate", "min_learning_rate", "batch_size"}),
}
"""Settings of a plan that only strategies with this step use: the anchor holds what `fuse` made."""


class Plan(Model):
    """A Readaptation with every default filled in: what the trainer carries out and the request digest covers."""

    strategy: Strategy = DEFAULT_STRATEGY
    refine: Refine = Refine.WHEN_BELOW_GATE
    seed: int = 0
    granularity: Granularity = Granularity.GLOBAL
    search_budget: int = 20
    validation_samples: int = 512
    alpha: Interval = Interval(min="0", max="1")
    beta: Interval = Interval(min="0", max="3")
    epochs: int = 2
    recover_fraction: Decimal = "0.2"
    anchor_strong: Decimal = "1e-3"
    anchor_weak: Decimal = "1e-4"
    learning_rate: Decimal = "5e-4"
    min_learning_rate: Decimal = "1e-5"
    batch_size: int = 32

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of the strategy, in order."""
        return STEPS[self.strategy]

    @property
    def uses_delta(self) -> bool:
        """Whether a step reads the projected difference of the two bases."""
        return reads_delta(self.strategy)

    @property
    def anchored(self) -> bool:
        """Whether training is held to its start: the baselines of the method are plain fine-tuning."""
        return self.strategy is Strategy.RELORA


def plan(readaptation: Readaptation) -> Plan:
    """Fill in the defaults. A setting that the strategy does not use keeps its own, so that it changes no digest."""
    steps = STEPS[readaptation.effective_strategy]
    unused = {name for step, names in _OF_A_STEP.items() if step not in steps for name in names}
    search = readaptation.search or Search()
    tuning = readaptation.tuning or Tuning()
    chosen = {
        "strategy": readaptation.strategy,
        "refine": readaptation.refine,
        "seed": readaptation.seed,
        "granularity": search.granularity,
        "search_budget": search.budget,
        "validation_samples": search.validation_samples,
        "alpha": search.alpha,
        "beta": search.beta,
        "epochs": tuning.epochs,
        "recover_fraction": tuning.recover_fraction,
        "anchor_strong": tuning.anchor_strong,
        "anchor_weak": tuning.anchor_weak,
        "learning_rate": tuning.learning_rate,
        "min_learning_rate": tuning.min_learning_rate,
        "batch_size": tuning.batch_size,
    }
    used = {name: value for name, value in chosen.items() if value is not None and name not in unused}
    return Plan.model_validate(used)

"""What a step leaves behind: the report in the store and the notification in the termination message."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_contract.model import Model
from relora_contract.scalars import Decimal, Digest, Timestamp
from relora_contract.task import Metric

MAX_MODULES = 8192
"""Most modules that a report describes, some ten times those of the largest models that are served."""

MAX_POINTS = 512
"""Most points of a learning curve."""

Step = Literal["delta", "port", "fuse", "recover", "refine"]


class StepOutcome(StrEnum):
    """How a step ended."""

    SUCCEEDED = "Succeeded"
    """It ran to its end; the verdict says whether the gate passed."""
    SKIPPED = "Skipped"
    """An earlier step passed its gate, and `refine: WhenBelowGate` asks for no more."""
    FAILED = "Failed"
    """It could not be carried out; `reason` and the exit code say why."""
    MISSING = "Missing"
    """Only in notifications of the report Job: the store holds no report of the step."""


class Verdict(StrEnum):
    """What the gate said."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"


class MetricValue(Model):
    """One measured metric with its interval."""

    metric: Metric
    value: Decimal = Field(description="Point estimate.")
    low: Decimal | None = Field(default=None, description="Lower end of its interval.")
    high: Decimal | None = Field(default=None, description="Upper end of its interval.")
    count: int | None = Field(default=None, description="Examples measured.")


class GateEvidence(Model):
    """Why one gate said what it said."""

    metric: Metric
    verdict: Verdict
    threshold: Decimal | None = None
    max_regression: Decimal | None = None
    level: Decimal = Field(description="One-sided error level of this look.")
    value: Decimal
    low: Decimal
    high: Decimal
    reference: Decimal | None = Field(default=None, description="The old pair's value on its own base.")
    difference: Decimal | None = None
    statistic: Decimal | None = None
    count: int
    gained: int | None = Field(default=None, description="Examples right now that the old pair had wrong.")
    lost: int | None = Field(default=None, description="Examples wrong now that the old pair had right.")
    items_needed: int | None = Field(default=None, description="Examples for a power of 80 % at this margin.")


class SplitUse(Model):
    """How often the test examples had been used by a gate, as far as the store knows."""

    readings: int = Field(
        description="Other times that gates were asked on the same file, about any step of any request."
    )
    requests: int = Field(description="Other requests among them: of other adapters, releases or settings.")


class Probe(Model):
    """One evaluated pair of coefficients."""

    alpha: Decimal
    beta: Decimal
    loss: Decimal
    standard_error: Decimal
    count: int
    seconds: Decimal


class Coefficients(Model):
    """The fusion coefficients of one module."""

    alpha: Decimal
    beta: Decimal


class ModuleFit(Model):
    """Fusion coefficients of each module, and the probe of the adapter that they make."""

    coefficients: Annotated[dict[str, Coefficients], Field(max_length=MAX_MODULES)]
    used: bool = Field(description="Whether it is better than (0, 1) and than the best pair for all modules.")
    steps: int = Field(description="Steps of the fit, one a batch of validation examples.")
    loss: Decimal
    standard_error: Decimal
    count: int
    seconds: Decimal = Field(description="Of the fit and the probe.")


class Surface(Model):
    """What the search believed of the validation loss at its end: its Gaussian process on a grid."""

    alpha: list[Decimal] = Field(description="Of the columns, ascending.")
    beta: list[Decimal] = Field(description="Of the rows, ascending.")
    loss: list[list[Decimal]] = Field(description="Median loss per completion token, row by row.")
    deviation: list[list[Decimal]] = Field(
        description="Standard deviation of the loss's natural logarithm: about the relative uncertainty of the loss."
    )


class Look(Model):
    """One look at the monitor examples during training."""

    step: int = Field(description="Optimizer steps made by then.")
    value: Decimal = Field(description="The metric of the first gate.")
    ready: bool = Field(description="Whether every gate's bound was met by the point estimates.")


class LearningCurve(Model):
    """What one stage of training did, thinned to a few hundred points: three lists, one entry a point."""

    steps: Annotated[list[int], Field(max_length=MAX_POINTS)] = Field(
        description="Optimizer steps made by then, those of an earlier stage included."
    )
    loss: list[Decimal] = Field(
        description="Mean task loss per completion token since the point before, without the anchor's term."
    )
    drift: list[Decimal] = Field(description="‖θ − θ_init‖ over all factors.")
    penalty: list[Decimal] = Field(description="The anchor's term of the objective, λ/2·‖θ − θ_init‖².")
    looks: Annotated[list[Look], Field(max_length=MAX_POINTS)] = Field(default_factory=list)
    look_reference: Decimal | None = Field(
        default=None, description="The old pair's value on the examples of the looks, on its own base."
    )


class Seconds(Model):
    """Where the time of a step went, in seconds."""

    load: Decimal = "0"
    project: Decimal = "0"
    search: Decimal = "0"
    train: Decimal = "0"
    evaluate: Decimal = "0"
    publish: Decimal = "0"


class StepReport(Model):
    """Written once, before the container exits, at `reports/<request digest>/<step>.json`."""

    contract_version: Literal[1] = 1
    request_digest: Digest
    gates_digest: Digest | None = None
    step: Step
    outcome: StepOutcome
    verdict: Verdict | None = None
    reason: Annotated[str, StringConstraints(max_length=63)] | None = None
    message: Annotated[str, StringConstraints(max_length=2048)] | None = None
    artifact: ArtifactRef | None = Field(default=None, description="What the step published.")
    training_state: ArtifactRef | None = None
    outcomes: ArtifactRef | None = Field(default=None, description="Per-example outcomes on the test set.")
    reference_outcomes: ArtifactRef | None = None
    alpha: Decimal | None = Field(
        default=None, description="Of the fused adapter; absent where each module has coefficients of its own."
    )
    beta: Decimal | None = None
    module_fit: ModuleFit | None = None
    probes: list[Probe] = Field(default_factory=list)
    surface: Surface | None = None
    curve: LearningCurve | None = None
    quality: list[MetricValue] = Field(default_factory=list)
    gates: list[GateEvidence] = Field(default_factory=list)
    split_use: SplitUse | None = Field(default=None, description="Of the examples that the gates were asked on.")
    optimizer_steps: int = 0
    captured_energy: dict[str, Decimal] = Field(
        default_factory=dict,
        description=(
            "By module, the share of the squared norm of the base's delta that its projection holds: in `delta` at the "
            "stored rank, in `fuse` at the adapter's."
        ),
    )
    warnings: list[str] = Field(default_factory=list)
    seconds: Seconds = Field(default_factory=Seconds)
    peak_memory_bytes: int = Field(default=0, description="Of the step's process.")
    accelerator_peak_memory_bytes: int = Field(default=0, description="Of the accelerator; 0 where there was none.")
    machine: dict[str, str] = Field(
        default_factory=dict,
        description="Where the step computed: device, precision, attention; on a CPU the number of threads.",
    )
    versions: dict[str, str] = Field(default_factory=dict)
    start_time: Timestamp
    end_time: Timestamp


def report_key(request_digest: str, step: str) -> str:
    """Return the key of a report below the store's root."""
    return f"reports/{hex_part(request_digest)}/{step}.json"


def page_key(request_digest: str, step: str) -> str:
    """Return the key of the page for people: beside the report of the step that ended the re-adaptation."""
    return f"reports/{hex_part(request_digest)}/{step}.html"


def picture_key(request_digest: str, step: str) -> str:
    """Return the key of the page's figures as one picture."""
    return f"reports/{hex_part(request_digest)}/{step}.png"


class Notification(Model):
    """The termination message: at most 1,536 bytes that point to a stored report."""

    request_digest: Digest
    step: Step
    outcome: StepOutcome
    verdict: Verdict | None = None
    artifact_digest: Digest | None = None
    alpha: Decimal | None = None
    beta: Decimal | None = None
    quality: list[MetricValue] = Field(default_factory=list)
    reason: Annotated[str, StringConstraints(max_length=63)] | None = None
    message: Annotated[str, StringConstraints(max_length=300)] | None = None
    report_digest: Digest | None = None
    start_time: Timestamp | None = Field(
        default=None, description="When the step began, which may be told again later."
    )
    end_time: Timestamp | None = Field(default=None, description="When it had ended.")

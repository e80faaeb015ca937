"""AdapterBinding: a tenant's LoRA adapter for a task, its data and its quality gate."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.api.attempts import Attempts
from relora_contract.api.meta import ApiObject, Condition, LocalRef
from relora_contract.artifacts import ArtifactRef
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, cel, immutable, map_list, validations
from relora_contract.model import Model
from relora_contract.readaptation import Readaptation
from relora_contract.report import MetricValue, StepOutcome, Verdict
from relora_contract.scalars import Decimal, Digest, Name, Namespace, S3Uri, ServedName, Timestamp
from relora_contract.task import Gate, Task


class S3Artifact(Model):
    """An artifact and the digest that pins it."""

    uri: S3Uri = Field(description="Where it lies. It may move: the digest pins the content.")
    digest: Digest = Field(description="Digest of the file, as printed by `relora digest URI`.")


class Source(S3Artifact):
    """The adapter that exists before the operator made one."""

    uri: S3Uri = Field(description="Folder with adapter_config.json and adapter_model.safetensors.")
    digest: Digest = Field(description="Folder digest of the adapter, as printed by `relora digest URI`.")
    release_name: Name = Field(description="The release whose base the adapter was trained on.")
    secret_ref: LocalRef | None = Field(
        default=None, description="Secret of this namespace with the credentials to read the adapter."
    )


class Dataset(Model):
    """Labelled examples: one JSON object a line, or a row of a file whose name ends in `.parquet`."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "self.test.digest != self.train.digest && self.test.digest != self.validation.digest",
                "give test examples of their own: a gate on examples that were trained on proves nothing",
                field=".test",
            ),
            cel(
                "self.validation.digest != self.train.digest",
                "give validation examples of their own: the search must not see the training examples",
                field=".validation",
            ),
        )
    )

    train: S3Artifact = Field(description="Examples for fine-tuning. The digest is that of the file's bytes.")
    validation: S3Artifact = Field(
        description="Examples for the search of the coefficients and for watching the training."
    )
    test: S3Artifact = Field(description="Examples for the quality gate only; at most 5,000 are read.")
    secret_ref: LocalRef | None = Field(
        default=None, description="Secret of this namespace with the credentials to read the data."
    )


class TaskSpec(Task):
    """What the adapter is for."""

    dataset: Dataset


class Quality(Model):
    """When an adapter is good enough to be served."""

    gates: Annotated[list[Gate], Field(min_length=1, max_length=4, json_schema_extra=map_list("metric"))] = Field(
        description="All must pass."
    )


class ReadaptationSpec(Readaptation):
    """How the adapter is carried to a new base."""

    active_deadline_seconds: Annotated[int, Field(ge=60, le=1_209_600)] | None = Field(
        default=None, description="Longest run of one attempt, in seconds. Default 86400."
    )
    max_attempts: Annotated[int, Field(ge=1, le=10)] | None = Field(
        default=None, description="Attempts per request after temporary failures. Default 3."
    )


_DEFAULT_READAPTATION = ReadaptationSpec()


class ServerRef(Model):
    """The AdapterServer that serves the adapter."""

    name: Name = Field(description="Name of the AdapterServer.")
    namespace: Namespace | None = Field(default=None, description="Default: the binding's own namespace.")


class UpdateMode(StrEnum):
    """Who decides that a binding moves to a newer release."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Promote(StrEnum):
    """Which of the adapters that passed the gate is offered to the server."""

    FIRST_PASSING = "FirstPassing"
    BEST = "Best"


class OnFailure(StrEnum):
    """What a failed upgrade means for the binding's own health."""

    KEEP = "Keep"
    DEGRADE = "Degrade"


class UpdatePolicy(Model):
    """How a binding follows its model's releases."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.approvedReleaseName) || (has(self.mode) && self.mode == 'Manual')",
                "the name has no effect without mode: Manual: set the mode or remove the name",
                field=".approvedReleaseName",
            )
        )
    )

    mode: UpdateMode | None = Field(
        default=None,
        description=(
            "Automatic: the newest release in which the namespace takes part. Manual: the approved release only. "
            "Default Automatic."
        ),
    )
    approved_release_name: Name | None = Field(
        default=None, description="The release that a binding of mode Manual may move to; until one is named it waits."
    )
    promote: Promote | None = Field(
        default=None,
        description=(
            "FirstPassing: the first adapter that passes its gate is rolled out, and a better one of a later step "
            "replaces it. Best: the last step is awaited. Default FirstPassing."
        ),
    )
    on_failure: OnFailure | None = Field(
        default=None,
        description=(
            "Keep: an upgrade that fails at its gate or by its release shows in UpToDate only. Degrade: it also makes "
            "the binding Stalled, as what only its owner can repair always does. Default Keep."
        ),
    )


_DEFAULT_UPDATE_POLICY = UpdatePolicy()


class AdapterBindingSpec(Model):
    """What a tenant wants kept alive across releases."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.servedName) || has(self.serverRef)",
                "the name has no effect without spec.serverRef: add the server or remove the name",
                field=".servedName",
            ),
            cel(
                "self.quality.gates.all(gate, gate.metric == 'Loss' || "
                "has(self.task.choices) == (gate.metric != 'ExactMatch'))",
                "Accuracy and MacroF1 need task.choices, ExactMatch is for tasks without: choose a metric that fits",
                field=".quality.gates",
            ),
        )
    )

    model: Name = Field(
        description="The family of base models. Immutable.",
        json_schema_extra=immutable("create a new AdapterBinding for the other family"),
    )
    source: Source
    task: TaskSpec
    quality: Quality
    readaptation: ReadaptationSpec | None = None
    server_ref: ServerRef | None = Field(
        default=None, description="Absent: the adapter is promoted in the status only."
    )
    served_name: ServedName | None = Field(
        default=None,
        description=(
            "What clients ask for; unique on the server. "
            "Default: the binding's name, or <namespace>.<name> on a server of another namespace."
        ),
    )
    update_policy: UpdatePolicy | None = Field(
        default=None, description="How the binding follows its model's releases. Absent: all defaults."
    )
    suspend: bool | None = Field(
        default=None, description="True: no new Job is started. What is served stays served. Default false."
    )
    priority: Annotated[int, Field(ge=-1000, le=1000)] | None = Field(
        default=None,
        description=(
            "Among the bindings of the namespace that wait for a Job of one release, those of a higher number come "
            "first. Namespaces take turns whatever their priorities. Default 0."
        ),
    )

    revision_history_limit: Annotated[int, Field(ge=1, le=10)] | None = Field(
        default=None,
        description="Earlier releases whose last pair is kept, to return to when a release is withdrawn. Default 3.",
    )

    @property
    def effective_revision_history_limit(self) -> int:
        """`revisionHistoryLimit` with its default."""
        return self.revision_history_limit or 3

    @property
    def effective_readaptation(self) -> ReadaptationSpec:
        """`readaptation` with every default."""
        return self.readaptation or _DEFAULT_READAPTATION

    @property
    def effective_update_policy(self) -> UpdatePolicy:
        """`updatePolicy` as it stands, or with every default."""
        return self.update_policy or _DEFAULT_UPDATE_POLICY

    def approves(self, release_name: str) -> bool:
        """Tell whether the owner lets the binding move to a release."""
        policy = self.effective_update_policy
        return policy.mode is not UpdateMode.MANUAL or policy.approved_release_name == release_name


class BindingConditionType(StrEnum):
    """Conditions of an AdapterBinding."""

    READY = "Ready"
    UP_TO_DATE = "UpToDate"
    ADAPTED = "Adapted"
    EVALUATED = "Evaluated"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class CurrentPair(Model):
    """The adapter in use and the base it was made for."""

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release of the base.")
    base: ArtifactRef = Field(description="The weights of the release.")
    adapter: ArtifactRef = Field(description="The adapter, by its manifest or as `spec.source` gave it.")
    quality: Annotated[list[MetricValue], Field(max_length=8, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="What the gate measured on the test examples."
    )
    promoted_time: Timestamp | None = Field(default=None, description="When it was promoted.")
    server_ref: ServerRef | None = Field(default=None, description="The server that was seen to serve it.")
    time_to_readiness_seconds: int | None = Field(
        default=None, description="From the release's creation to the first passed gate."
    )
    readaptation_seconds: int | None = Field(
        default=None,
        description=(
            "Time of the steps that made it, up to the one whose gate passed. Absent for an adapter of `spec.source`."
        ),
    )


class StepState(StrEnum):
    """Where a step of the candidate is."""

    PENDING = "Pending"
    RUNNING = "Running"
    FINISHED = "Finished"


class StepStatus(Model):
    """One step of the re-adaptation as its notification told it."""

    name: Annotated[str, StringConstraints(max_length=16)] = Field(description="port, fuse, recover or refine.")
    state: StepState
    outcome: StepOutcome | None = None
    verdict: Verdict | None = None
    start_time: Timestamp | None = Field(default=None, description="When its container started.")
    end_time: Timestamp | None = Field(default=None, description="When its container ended.")
    adapter_digest: Digest | None = Field(default=None, description="Manifest digest of the adapter that it published.")
    alpha: Decimal | None = Field(
        default=None,
        description=(
            "Share α of the base's delta in its adapter; absent where each module has its own, which the report shows."
        ),
    )
    beta: Decimal | None = Field(
        default=None, description="Factor β of the old adapter in its adapter; absent where each module has its own."
    )
    quality: Annotated[list[MetricValue], Field(max_length=8, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="What its gate measured on the test examples."
    )
    reason: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        default=None, description="Why it did not succeed, as one word."
    )
    message: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        default=None, description="Why it did not succeed, as a sentence."
    )


class CandidateSource(Model):
    """The pair that a re-adaptation starts from."""

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release of its base.")
    base_digest: Digest = Field(description="Digest of its base.")
    adapter_digest: Digest = Field(description="Digest of its adapter.")


class Candidate(Attempts):
    """The re-adaptation to the newest eligible release."""

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release aimed at.")
    base: ArtifactRef = Field(description="The weights of that release.")
    source: CandidateSource | None = Field(default=None, description="The pair that it starts from.")
    gates_digest: Digest = Field(description="The gates by which the steps were judged.")
    rejudging: bool = Field(
        default=False,
        description=(
            "Whether the gates changed, and a Job without a GPU judges the stored outcomes by them before anything "
            "is computed."
        ),
    )
    image: Digest = Field(description="The trainer image that the request digest covers.")
    steps: Annotated[list[StepStatus], Field(max_length=4, json_schema_extra=map_list("name"))] = Field(
        default_factory=list, description="The steps of the strategy, in order."
    )
    adapter: ArtifactRef | None = Field(default=None, description="The best adapter that passed its gate.")
    passed_time: Timestamp | None = Field(default=None, description="When the first gate passed.")


class AdapterBindingStatus(Model):
    """What the operator saw of a binding."""

    observed_generation: int = Field(default=-1, description="The generation that this status describes.")
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=map_list("type"))] = Field(
        default_factory=list, description="Ready, UpToDate, Adapted, Evaluated, Reconciling, Stalled."
    )
    current: CurrentPair | None = None
    candidate: Candidate | None = None
    superseded: CurrentPair | None = Field(
        default=None,
        description="The last pair that passed its gate and gave way to a newer release before it was promoted.",
    )
    history: Annotated[list[CurrentPair], Field(max_length=10, json_schema_extra=ATOMIC)] = Field(
        default_factory=list,
        description="The last pair in use for each earlier release that is not withdrawn, the latest first.",
    )


class AdapterBinding(ApiObject):
    """A tenant's LoRA adapter, kept working across releases of its base model."""

    resource: ClassVar[Resource] = Resource(
        kind="AdapterBinding",
        plural="adapterbindings",
        short_name="adb",
        scope=Scope.NAMESPACED,
        columns=(
            PrinterColumn("Model", ".spec.model"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            PrinterColumn("UpToDate", ".status.conditions[?(@.type=='UpToDate')].status"),
            PrinterColumn("Status", ".status.conditions[?(@.type=='UpToDate')].reason"),
            PrinterColumn("Release", ".status.current.releaseName"),
            PrinterColumn("Server", ".spec.serverRef.name"),
            PrinterColumn("Quality", ".status.current.quality[0].value"),
            PrinterColumn("Candidate", ".status.candidate.releaseName", priority=1),
            PrinterColumn("Adapter", ".status.current.adapter.digest", priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    spec: AdapterBindingSpec
    status: AdapterBindingStatus = Field(default_factory=AdapterBindingStatus)

"""AdapterServer: a Deployment that serves one base and any number of adapters; the unit of base cut-over."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.api.meta import Condition, LabelSelector, ObjectMeta
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, cel, immutable, map_list, validations
from relora_contract.model import Model
from relora_contract.scalars import Digest, Name, ObjectName, Timestamp


class TargetRef(Model):
    """The workload whose pod template carries the serving set."""

    kind: Literal["Deployment"]
    name: ObjectName


class BindingsFrom(StrEnum):
    """Namespaces whose bindings a server admits."""

    SAME = "Same"
    SELECTOR = "Selector"
    ALL = "All"


class AllowedBindings(Model):
    """Which bindings may name the server."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.selector) == (self.from == 'Selector')",
                "allowedBindings.selector goes with from: Selector, and only with it",
            )
        )
    )

    from_: BindingsFrom = Field(alias="from", description="Same: the server's own namespace. Default Same.")
    selector: LabelSelector | None = Field(default=None, description="Labels of the admitted namespaces.")


class AdapterServerSpec(Model):
    """Which workload serves which family."""

    model: Name = Field(
        description="The family of base models. Immutable.",
        json_schema_extra=immutable("create a new AdapterServer for the other family"),
    )
    initial_release_name: Name = Field(
        description="The release that the workload serves when the server is created. Immutable.",
        json_schema_extra=immutable("create a new AdapterServer to start again from another release"),
    )
    target_ref: TargetRef = Field(
        description=(
            "A workload of the same namespace that carries the label relora.dev/adapter-server: <name of this server>."
        )
    )
    allowed_bindings: AllowedBindings | None = None
    max_adapters: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="Most adapters that the server holds. Default 64."
    )
    max_lora_rank: Annotated[int, Field(ge=1, le=512)] | None = Field(
        default=None,
        alias="maxLoRARank",
        description="The engine's limit on the rank of an adapter; checked before a GPU is used. Default 64.",
    )
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] | None = Field(
        default=None,
        description="How long a roll-out may take before the previous set is put back, in seconds. Default 1800.",
    )

    @property
    def effective_max_adapters(self) -> int:
        """`maxAdapters` with its default."""
        return self.max_adapters or 64

    @property
    def effective_max_lora_rank(self) -> int:
        """`maxLoRARank` with its default."""
        return self.max_lora_rank or 64

    @property
    def effective_progress_deadline_seconds(self) -> int:
        """`progressDeadlineSeconds` with its default."""
        return self.progress_deadline_seconds or 1800


class ServerConditionType(StrEnum):
    """Conditions of an AdapterServer."""

    READY = "Ready"
    UP_TO_DATE = "UpToDate"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class ServedSet(Model):
    """One serving set by its digest."""

    release_name: Annotated[str, StringConstraints(max_length=63)]
    set_digest: Digest
    adapters: int
    promoted_time: Timestamp | None = None


class CandidateSet(Model):
    """A serving set on its way to the workload, or the one whose roll-out failed last."""

    release_name: Annotated[str, StringConstraints(max_length=63)]
    set_digest: Digest
    adapters: int
    start_time: Timestamp
    state: Literal["RollingOut", "RollingBack", "RolledBack"]
    message: Annotated[str, StringConstraints(max_length=1024)] | None = None


class Blocker(Model):
    """A member that keeps the server on its old base."""

    namespace: Annotated[str, StringConstraints(max_length=63)]
    name: Annotated[str, StringConstraints(max_length=253)]
    reason: Annotated[str, StringConstraints(max_length=63)]


class AdapterServerStatus(Model):
    """What the operator saw of a server."""

    observed_generation: int = -1
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=map_list("type"))] = Field(
        default_factory=list
    )
    current: ServedSet | None = None
    previous: ServedSet | None = None
    candidate: CandidateSet | None = None
    blockers: Annotated[list[Blocker], Field(max_length=10, json_schema_extra=ATOMIC)] = Field(default_factory=list)


class AdapterServer(Model):
    """A workload that serves one base and the adapters bound to it."""

    resource: ClassVar[Resource] = Resource(
        kind="AdapterServer",
        plural="adapterservers",
        short_name="ads",
        scope=Scope.NAMESPACED,
        columns=(
            PrinterColumn("Model", ".spec.model"),
            PrinterColumn("Target", ".spec.targetRef.name"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            PrinterColumn("UpToDate", ".status.conditions[?(@.type=='UpToDate')].status"),
            PrinterColumn("Status", ".status.conditions[?(@.type=='UpToDate')].reason"),
            PrinterColumn("Release", ".status.current.releaseName"),
            PrinterColumn("Adapters", ".status.current.adapters", type="integer"),
            PrinterColumn("Set", ".status.current.setDigest", priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta
    spec: AdapterServerSpec
    status: AdapterServerStatus = Field(default_factory=AdapterServerStatus)

"""AdapterServer: a Deployment that serves one base and any number of adapters; the unit of base cut-over."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.api.meta import ApiObject, Condition, LabelSelector
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, cel, immutable, map_list, validations
from relora_contract.model import Model
from relora_contract.scalars import Digest, Name, ObjectName, ServedName, Timestamp
from relora_contract.serving import Engine


class TargetRef(Model):
    """The workload whose pod template carries the serving set."""

    kind: Literal["Deployment"] = Field(description="Kind of the workload.")
    name: ObjectName = Field(description="Name of the workload.")


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
                "give a selector with from: Selector, and only with it",
                field=".selector",
            )
        )
    )

    from_: BindingsFrom = Field(alias="from", description="Same: the server's own namespace only.")
    selector: LabelSelector | None = Field(default=None, description="Labels of the admitted namespaces.")


class Stragglers(StrEnum):
    """What becomes of the members that have not passed when the deadline is over."""

    BLOCK = "Block"
    SPLIT = "Split"


class Upgrade(Model):
    """When the server moves to a new base, and how often its set changes on the one that it has."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.stragglers) || self.stragglers != 'Split' || has(self.fallbackTargetRef)",
                "Split needs a second workload, which serves those that did not pass: give fallbackTargetRef",
                field=".fallbackTargetRef",
            )
        )
    )

    deadline_seconds: Annotated[int, Field(ge=10, le=31_536_000)] | None = Field(
        default=None,
        description=(
            "How long the server waits for all of its members to pass on a new release, in seconds. It counts from "
            "when the release became the next one of the server and nothing held it back. Default 604800."
        ),
    )
    stragglers: Stragglers | None = Field(
        default=None,
        description=(
            "What becomes of the members that have not passed when the deadline is over. Block: the server keeps its "
            "set, and status.blockers names them. Split: their adapters are given to the fallback workload, on the "
            "base that they have, and once that serves them the server moves with the members that passed. Default "
            "Block."
        ),
    )
    fallback_target_ref: TargetRef | None = Field(
        default=None,
        description=(
            "A second workload of the same namespace, with the same label as the one of targetRef and at least one "
            "replica when it is needed. Clients reach it by a Service or a route of your own: status.fallback names "
            "what it serves."
        ),
    )

    min_interval_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = Field(
        default=None,
        description=(
            "Least time from one roll-out to the next on the same base, in seconds: new members and better revisions "
            "are collected meanwhile. The first set, a member that leaves, another base and a set that was lost wait "
            "for nothing. Absent: every change is rolled out at once."
        ),
    )

    @property
    def effective_deadline_seconds(self) -> int:
        """`deadlineSeconds` with its default."""
        return self.deadline_seconds or 604_800

    @property
    def splits(self) -> bool:
        """Whether the members that passed move without the others."""
        return self.stragglers is Stragglers.SPLIT and self.fallback_target_ref is not None


_DEFAULT_UPGRADE = Upgrade()


class AdapterServerSpec(Model):
    """Which workload serves which family."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.upgrade) || !has(self.upgrade.fallbackTargetRef) || "
                "self.upgrade.fallbackTargetRef.name != self.targetRef.name",
                "the fallback serves another base at the same time: name another workload than in targetRef",
                field=".upgrade.fallbackTargetRef.name",
            )
        )
    )

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
    allowed_bindings: AllowedBindings | None = Field(
        default=None, description="Which bindings may name the server. Absent: those of its own namespace."
    )
    engine: Engine | None = Field(
        default=None,
        description=(
            "What the workload loads adapters with. VLLM: no DoRA, no replaced modules such as heads. PEFT: whatever "
            "PEFT loads. Checked before a GPU is used; a change counts for later re-adaptations. Default VLLM."
        ),
    )
    max_adapters: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="Most adapters that the server holds. Default 64."
    )
    max_lora_rank: Annotated[int, Field(ge=1, le=512)] | None = Field(
        default=None,
        alias="maxLoRARank",
        description="The engine's limit on the rank of an adapter; checked before a GPU is used. Default 64.",
    )
    upgrade: Upgrade | None = Field(
        default=None,
        description="When the server moves to a new base, and how often its set changes on the one that it has.",
    )
    suspend: bool | None = Field(
        default=None,
        description=(
            "True: no roll-out of another set begins. One under way ends, and a set that the workload lost is put "
            "back. Default false."
        ),
    )
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] | None = Field(
        default=None,
        description="How long a roll-out may take before the previous set is put back, in seconds. Default 1800.",
    )

    @property
    def effective_engine(self) -> Engine:
        """`engine` with its default."""
        return self.engine or Engine.VLLM

    @property
    def effective_max_adapters(self) -> int:
        """`maxAdapters` with its default."""
        return self.max_adapters or 64

    @property
    def effective_max_lora_rank(self) -> int:
        """`maxLoRARank` with its default."""
        return self.max_lora_rank or 64

    @property
    def effective_upgrade(self) -> Upgrade:
        """`upgrade` with its default."""
        return self.upgrade or _DEFAULT_UPGRADE

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

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release of its base.")
    set_digest: Digest = Field(description="Value of the annotation relora.dev/serving-set-digest.")
    adapters: int = Field(description="How many adapters it holds.")
    promoted_time: Timestamp | None = Field(default=None, description="When its roll-out was seen complete.")


class CandidateSet(Model):
    """A serving set on its way to the workload, or back from it."""

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release of its base.")
    set_digest: Digest = Field(description="Value of the annotation relora.dev/serving-set-digest.")
    adapters: int = Field(description="How many adapters it holds.")
    start_time: Timestamp = Field(description="When it was written to the workload.")
    state: Literal["RollingOut", "RollingBack"] = Field(description="Where the roll-out is.")
    message: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="Why the roll-out failed."
    )
    waiting_since: Timestamp | None = Field(
        default=None, description="Since when the newest pod cannot be scheduled, or the workload is paused."
    )
    waited_seconds: int = Field(
        default=0, description="Time of earlier such waits; up to a day of it does not count as roll-out time."
    )
    retry_requested_at: Annotated[str, StringConstraints(max_length=253)] | None = Field(
        default=None, description="Value of the annotation relora.dev/retryRequestedAt when the roll-out began."
    )


class RolledBackSet(Model):
    """A serving set whose roll-out failed. It is not tried again until a retry is asked for."""

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release of its base.")
    set_digest: Digest = Field(description="What relora.dev/serving-set-digest was.")
    time: Timestamp = Field(description="When the previous set was seen to serve again.")
    message: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="Why the roll-out failed."
    )
    retry_requested_at: Annotated[str, StringConstraints(max_length=253)] | None = Field(
        default=None, description="Value of the annotation relora.dev/retryRequestedAt when the roll-out began."
    )


class NextRelease(Model):
    """The release to which the server is to move."""

    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release.")
    start_time: Timestamp = Field(description="Since when. spec.upgrade.deadlineSeconds counts from there.")


class FallbackSet(Model):
    """What the fallback workload serves, or is to serve, for the members that did not pass in time."""

    target_name: ObjectName = Field(description="The workload.")
    release_name: Annotated[str, StringConstraints(max_length=63)] = Field(description="The release of its base.")
    served_names: Annotated[list[ServedName], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        default_factory=list,
        description="What clients are to ask of the fallback workload. Everything else they ask of the main one.",
    )
    current: ServedSet | None = Field(default=None, description="The set that the fallback workload serves.")
    candidate: CandidateSet | None = None
    rolled_back: Annotated[list[RolledBackSet], Field(max_length=8, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Sets whose roll-out to the fallback workload failed."
    )
    reverts: Annotated[list[Timestamp], Field(max_length=3, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="When the set was last found removed from the fallback workload."
    )


class Blocker(Model):
    """A member that keeps the server on its old base."""

    namespace: Annotated[str, StringConstraints(max_length=63)] = Field(description="Namespace of the binding.")
    name: Annotated[str, StringConstraints(max_length=253)] = Field(description="Name of the binding.")
    reason: Annotated[str, StringConstraints(max_length=63)] = Field(description="Reason of its condition UpToDate.")


class AdapterServerStatus(Model):
    """What the operator saw of a server."""

    observed_generation: int = Field(default=-1, description="The generation that this status describes.")
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=map_list("type"))] = Field(
        default_factory=list, description="Ready, UpToDate, Reconciling, Stalled."
    )
    current: ServedSet | None = Field(default=None, description="The set that the workload serves.")
    previous: ServedSet | None = Field(default=None, description="The set before it.")
    candidate: CandidateSet | None = None
    rolled_back: Annotated[list[RolledBackSet], Field(max_length=8, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Sets whose roll-out failed, the last one at the end."
    )
    reverts: Annotated[list[Timestamp], Field(max_length=3, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="When the set was last found removed from the workload."
    )
    next: NextRelease | None = None
    fallback: FallbackSet | None = None
    blockers: Annotated[list[Blocker], Field(max_length=10, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Some of the members that have not passed on the newest release."
    )


class AdapterServer(ApiObject):
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

    spec: AdapterServerSpec
    status: AdapterServerStatus = Field(default_factory=AdapterServerStatus)

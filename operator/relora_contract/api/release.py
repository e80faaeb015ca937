"""BaseModelRelease: one version of a family of base models."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.api.attempts import Attempts
from relora_contract.api.meta import ApiObject, Condition, LabelSelector, LocalRef, NamespaceAdmission
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, cel, immutable, map_list, remedy, validations
from relora_contract.model import Model
from relora_contract.scalars import CountOrPercentage, Digest, Name, S3Uri, Timestamp

_NEW_RELEASE = "create a new BaseModelRelease that supersedes this one"


class Weights(Model):
    """Where a release's weights lie and what they are."""

    uri: S3Uri = Field(description="Folder of the weights. It may move: the digest pins the content.")
    digest: Digest = Field(
        description="Folder digest of the weights, as printed by `relora digest URI`. Immutable.",
        json_schema_extra=immutable(_NEW_RELEASE),
    )


class Canary(Model):
    """Who goes first, and when the others follow."""

    selector: LabelSelector = Field(
        description=(
            "Labels of the AdapterServers that go first, with all their bindings; and of AdapterBindings without a "
            "server."
        )
    )
    min_promoted: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many of these servers and bindings must be promoted before the others start. Default 1.",
    )
    deadline_seconds: Annotated[int, Field(ge=60, le=2_592_000)] | None = Field(
        default=None,
        description="When the release is halted if they are not, in seconds from its acceptance. Default 86400.",
    )

    @property
    def effective_min_promoted(self) -> int:
        """`minPromoted` with its default."""
        return self.min_promoted or 1

    @property
    def effective_deadline_seconds(self) -> int:
        """`deadlineSeconds` with its default."""
        return self.deadline_seconds or 86_400


class FailureBudget(Model):
    """How many bindings may fail because of the release before it is halted."""

    max_failed: CountOrPercentage | None = Field(
        default=None,
        description=(
            "A number of bindings, or a percentage of those that have passed or failed. The failures that count are "
            "GateFailed, NonFiniteLoss, AdaptationFailed, Incompatible and RolledBack. Default 10%."
        ),
    )
    minimum_sample: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="A percentage is judged when so many bindings have passed or failed. Default 10.",
    )
    accepted_failures: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None,
        description=(
            "Failures that are not counted. Raise it to resume a halted release, which stays halted until its spec "
            "changes. Default 0."
        ),
    )

    @property
    def effective_max_failed(self) -> str:
        """`maxFailed` with its default."""
        return self.max_failed or "10%"

    @property
    def effective_minimum_sample(self) -> int:
        """`minimumSample` with its default."""
        return self.minimum_sample or 10

    @property
    def effective_accepted_failures(self) -> int:
        """`acceptedFailures` with its default."""
        return self.accepted_failures or 0


class Rollout(Model):
    """Order, pace and failure budget of a release on its way through the fleet."""

    max_running_jobs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description=(
            "How many re-adaptation Jobs of this release may be active at once; those that a queue holds are none. "
            "Default 8; without a limit of its own where the profile names a queue, which then sets the pace."
        ),
    )
    max_running_jobs_per_namespace: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="How many of them may be active in one namespace. Absent: no limit of its own."
    )
    max_queued_jobs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="How many of them may wait in a queue at once. Default 100."
    )
    canary: Canary | None = Field(default=None, description="Who goes first. Absent: nobody waits for others.")
    failure_budget: FailureBudget | None = Field(
        default=None, description="When the release is halted. Absent: all defaults."
    )


class BaseModelReleaseSpec(Model):
    """What the platform team releases."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.supersedes) == has(oldSelf.supersedes)",
                f"the field is immutable, also its absence: {_NEW_RELEASE}",
                field=".supersedes",
            ),
            cel(
                "!(has(oldSelf.withdrawn) && oldSelf.withdrawn) || (has(self.withdrawn) && self.withdrawn)",
                f"a withdrawal is final: {_NEW_RELEASE}",
                field=".withdrawn",
            ),
        )
    )

    model: Name = Field(
        description="The family that bindings and servers name. Immutable.", json_schema_extra=immutable(_NEW_RELEASE)
    )
    version: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63),
        Field(json_schema_extra=remedy("write letters, digits, '.', '_' and '-', as in 2026.11")),
    ] = Field(description="Version of the family, for people. Immutable.", json_schema_extra=immutable(_NEW_RELEASE))
    supersedes: Name | None = Field(
        default=None,
        description=(
            "The release before this one; absent for a family's first. A family's releases form one chain. Immutable."
        ),
        json_schema_extra=immutable(_NEW_RELEASE),
    )
    weights: Weights
    profile_ref: LocalRef = Field(description="The TrainerProfile by which this release's Jobs run.")
    allowed_namespaces: NamespaceAdmission | None = Field(
        default=None, description="The namespaces whose bindings take part. Absent: all."
    )
    suspend: bool | None = Field(
        default=None,
        description=(
            "True: no new Job is started for the release. Jobs that run go on, and what passed is rolled out. "
            "Default false."
        ),
    )
    withdrawn: bool | None = Field(
        default=None,
        description=(
            "True: the release is taken back. Its Jobs are ended, and every server and binding goes on to a newer "
            "release for which all that is needed has passed, or returns to what it used before. Never false again. "
            "Default false."
        ),
    )
    rollout: Rollout | None = Field(default=None, description="Order, pace and failure budget of the release.")

    @property
    def canary(self) -> Canary | None:
        """Who goes first."""
        return self.rollout.canary if self.rollout is not None else None

    @property
    def failure_budget(self) -> FailureBudget:
        """`rollout.failureBudget` as it stands, or with every default."""
        return (self.rollout and self.rollout.failure_budget) or FailureBudget()

    @property
    def max_running_jobs(self) -> int:
        """Limit of active re-adaptation Jobs, with its default."""
        return (self.rollout and self.rollout.max_running_jobs) or 8

    @property
    def max_running_jobs_per_namespace(self) -> int:
        """Limit of active re-adaptation Jobs of one namespace; without one of its own, that of all."""
        return (self.rollout and self.rollout.max_running_jobs_per_namespace) or self.max_running_jobs

    @property
    def max_queued_jobs(self) -> int:
        """Limit of re-adaptation Jobs that wait in a queue, with its default."""
        return (self.rollout and self.rollout.max_queued_jobs) or 100


class ReleaseConditionType(StrEnum):
    """Conditions of a BaseModelRelease."""

    ACCEPTED = "Accepted"
    READY = "Ready"
    COMPLETE = "Complete"
    HALTED = "Halted"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class DeltaStatus(Attempts):
    """The projected delta from one earlier release, made when a binding of that release needs it."""

    source_release_name: Name = Field(description="The release from which bindings come.")
    digest: Digest | None = Field(default=None, description="Manifest digest of the delta, once it is stored.")


class BindingCounts(Model):
    """How many bindings are where. `eligible` is the sum of the others."""

    eligible: int = Field(default=0, description="Bindings that take part in the release.")
    pending: int = Field(default=0, description="Waiting for the delta or for the next attempt, or held back.")
    queued: int = Field(default=0, description="Only a slot of the release, or a queue, keeps the Job from starting.")
    running: int = Field(default=0, description="A Job is active.")
    passed: int = Field(default=0, description="The gate passed; the server's roll-out is awaited.")
    promoted: int = Field(default=0, description="On this release.")
    failed: int = Field(default=0, description="Ended without a passed gate or roll-out; the old pair is kept.")
    skipped: int = Field(default=0, description="Suspended by `spec.suspend` of the binding.")

    @property
    def to_come(self) -> int:
        """Bindings whose Job has not started yet."""
        return self.pending + self.queued


class CanaryStatus(Model):
    """How far the canaries are."""

    matched: int = Field(description="Servers, and bindings without one, that take part and match the selector.")
    promoted: int = Field(description="Those of which every binding that takes part is on the release.")
    passed_time: Timestamp | None = Field(default=None, description="When the others were let go.")


class FailureSample(Model):
    """One binding that did not reach this release."""

    namespace: Annotated[str, StringConstraints(max_length=63)] = Field(description="Namespace of the binding.")
    name: Annotated[str, StringConstraints(max_length=253)] = Field(description="Name of the binding.")
    reason: Annotated[str, StringConstraints(max_length=63)] = Field(description="Reason of its condition UpToDate.")


class BaseModelReleaseStatus(Model):
    """What the operator saw of a release."""

    observed_generation: int = Field(default=-1, description="The generation that this status describes.")
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=map_list("type"))] = Field(
        default_factory=list, description="Accepted, Ready, Complete, Halted, Stalled."
    )
    deltas: Annotated[list[DeltaStatus], Field(max_length=16, json_schema_extra=map_list("sourceReleaseName"))] = Field(
        default_factory=list, description="One projected delta for each earlier release that bindings come from."
    )
    start_time: Timestamp | None = Field(default=None, description="When the release was accepted.")
    completion_time: Timestamp | None = Field(
        default=None, description="When the last eligible binding reached its end."
    )
    bindings: BindingCounts | None = None
    canaries: CanaryStatus | None = Field(default=None, description="Absent without `spec.rollout.canary`.")
    failure_samples: Annotated[list[FailureSample], Field(max_length=10, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Some of the bindings that failed."
    )


class BaseModelRelease(ApiObject):
    """A version of a family of base models; applying one moves the family's adapters to it."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.spec.supersedes) || self.spec.supersedes != self.metadata.name",
                "the release supersedes itself: name the release before it",
                field=".spec.supersedes",
            )
        )
    )
    resource: ClassVar[Resource] = Resource(
        kind="BaseModelRelease",
        plural="basemodelreleases",
        short_name="bmr",
        scope=Scope.CLUSTER,
        columns=(
            PrinterColumn("Model", ".spec.model"),
            PrinterColumn("Version", ".spec.version"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            PrinterColumn("Complete", ".status.conditions[?(@.type=='Complete')].status"),
            PrinterColumn("Status", ".status.conditions[?(@.type=='Complete')].reason"),
            PrinterColumn("Eligible", ".status.bindings.eligible", type="integer"),
            PrinterColumn("Promoted", ".status.bindings.promoted", type="integer"),
            PrinterColumn("Failed", ".status.bindings.failed", type="integer"),
            PrinterColumn("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    spec: BaseModelReleaseSpec
    status: BaseModelReleaseStatus = Field(default_factory=BaseModelReleaseStatus)

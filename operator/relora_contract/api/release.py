"""BaseModelRelease: one version of a family of base models."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.api.meta import Condition, LocalRef, NamespaceAdmission, ObjectMeta
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, cel, immutable, map_list, validations
from relora_contract.model import Model
from relora_contract.scalars import Digest, Name, S3Uri, Timestamp

_NEW_RELEASE = "create a new BaseModelRelease that supersedes this one"


class Weights(Model):
    """Where a release's weights lie and what they are."""

    uri: S3Uri = Field(description="Folder of the weights. It may move: the digest pins the content.")
    digest: Digest = Field(
        description="Folder digest of the weights, as printed by `relora digest URI`. Immutable.",
        json_schema_extra=immutable(_NEW_RELEASE),
    )


class Rollout(Model):
    """Pace of a release through the fleet."""

    max_running_jobs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="How many re-adaptation Jobs of this release may be active at once. Default 8."
    )


class BaseModelReleaseSpec(Model):
    """What the platform team releases."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.supersedes) == has(oldSelf.supersedes)",
                f"spec.supersedes is immutable, also its absence: {_NEW_RELEASE}",
            )
        )
    )

    model: Name = Field(
        description="The family that bindings and servers name. Immutable.", json_schema_extra=immutable(_NEW_RELEASE)
    )
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)] = Field(
        description="Version of the family, for people. Immutable.", json_schema_extra=immutable(_NEW_RELEASE)
    )
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
    rollout: Rollout | None = Field(default=None, description="Pace of the release.")

    @property
    def max_running_jobs(self) -> int:
        """Limit of active re-adaptation Jobs, with its default."""
        return self.rollout.max_running_jobs if self.rollout else 8


class ReleaseConditionType(StrEnum):
    """Conditions of a BaseModelRelease."""

    ACCEPTED = "Accepted"
    READY = "Ready"
    COMPLETE = "Complete"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class DeltaStatus(Model):
    """The projected delta from one earlier release, made when a binding of that release needs it."""

    source_release_name: Name
    request_digest: Digest
    attempt: int = 1
    job_name: Annotated[str, StringConstraints(max_length=63)] | None = None
    digest: Digest | None = Field(default=None, description="Manifest digest of the delta, once it is stored.")
    last_failure_time: Timestamp | None = None


class BindingCounts(Model):
    """How many bindings are where. `eligible` is the sum of the others."""

    eligible: int = 0
    pending: int = 0
    running: int = 0
    passed: int = 0
    promoted: int = 0
    failed: int = 0


class FailureSample(Model):
    """One binding that did not reach this release."""

    namespace: Annotated[str, StringConstraints(max_length=63)]
    name: Annotated[str, StringConstraints(max_length=253)]
    reason: Annotated[str, StringConstraints(max_length=63)]


class BaseModelReleaseStatus(Model):
    """What the operator saw of a release."""

    observed_generation: int = -1
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=map_list("type"))] = Field(
        default_factory=list
    )
    deltas: Annotated[list[DeltaStatus], Field(max_length=16, json_schema_extra=map_list("sourceReleaseName"))] = Field(
        default_factory=list
    )
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    bindings: BindingCounts | None = None
    failure_samples: Annotated[list[FailureSample], Field(max_length=10, json_schema_extra=ATOMIC)] = Field(
        default_factory=list
    )


class BaseModelRelease(Model):
    """A version of a family of base models; applying one moves the family's adapters to it."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.spec.supersedes) || self.spec.supersedes != self.metadata.name",
                "spec.supersedes names this release itself: name the release before it",
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

    metadata: ObjectMeta
    spec: BaseModelReleaseSpec
    status: BaseModelReleaseStatus = Field(default_factory=BaseModelReleaseStatus)

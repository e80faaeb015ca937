"""TrainerProfile: the platform team's settings for the pods of the trainer."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.api.meta import LabelKey, LabelValue, NamespaceAdmission, ObjectMeta
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, cel, map_list, validations
from relora_contract.model import Model
from relora_contract.scalars import ObjectName, S3Template, S3Uri

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", max_length=32)]


class Store(Model):
    """Where the trainer's results go."""

    uri: S3Template = Field(
        description="Root of the adapters' store; `{namespace}` stands for the binding's namespace."
    )
    delta_uri: S3Uri = Field(description="Root of the store of the bases' deltas, which all namespaces read.")
    endpoint: (
        Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=253)] | None
    ) = Field(default=None, description="Endpoint of the S3 service. Absent: that of AWS.")
    secret_name: ObjectName = Field(
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, by this name in every Job's namespace."
    )


class Credential(Model):
    """A secret for the URIs that start with a prefix; the longest prefix wins."""

    uri_prefix: S3Uri
    secret_name: ObjectName


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class Toleration(Model):
    """A taint that trainer pods tolerate."""

    key: LabelKey | None = None
    operator: TolerationOperator | None = None
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Scheduling(Model):
    """Where trainer pods run."""

    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=20)] | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=20, json_schema_extra=ATOMIC)] | None = None
    priority_class_name: ObjectName | None = None


class Resources(Model):
    """Resources of every container of the pod; the steps run one after the other."""

    requests: Annotated[dict[LabelKey, Quantity], Field(max_length=10)] | None = None
    limits: Annotated[dict[LabelKey, Quantity], Field(max_length=10)] | None = None


class TrainerProfileSpec(Model):
    """How the Jobs of a release run."""

    image: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$", max_length=512)
    ] = Field(description="The trainer image, by digest.")
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount in the Job's namespace; its token is not mounted. Default `default`."
    )
    allowed_namespaces: NamespaceAdmission | None = Field(
        default=None, description="The namespaces in which the profile's Jobs may run. Absent: all."
    )
    store: Store
    credentials: Annotated[list[Credential], Field(max_length=16, json_schema_extra=map_list("uriPrefix"))] | None = (
        None
    )
    resources: Resources | None = None
    scheduling: Scheduling | None = None
    scratch_size_limit: Quantity | None = Field(
        default=None, description="Size limit of the pod's working folder, which holds the base. Default 100Gi."
    )
    pre_running_deadline_seconds: Annotated[int, Field(ge=30, le=604_800)] | None = Field(
        default=None,
        description="How long a pod may wait for its start (scheduling, image) before the attempt ends. Default 3600.",
    )

    @property
    def effective_pre_running_deadline_seconds(self) -> int:
        """`preRunningDeadlineSeconds` with its default."""
        return self.pre_running_deadline_seconds or 3600


class TrainerProfile(Model):
    """Image, store, credentials and resources of the trainer's pods. Tenants only name releases, never a profile."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "self.spec.store.uri.contains('{namespace}')",
                "spec.store.uri must contain {namespace}: tenants must not share a store",
            )
        )
    )
    resource: ClassVar[Resource] = Resource(
        kind="TrainerProfile",
        plural="trainerprofiles",
        short_name="tpr",
        scope=Scope.CLUSTER,
        has_status=False,
        columns=(
            PrinterColumn("Store", ".spec.store.uri"),
            PrinterColumn("Image", ".spec.image", priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta
    spec: TrainerProfileSpec

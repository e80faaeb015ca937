"""TrainerProfile: the platform team's settings for the pods of the trainer."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from relora_contract.api.meta import ApiObject, LabelKey, LabelValue, NamespaceAdmission
from relora_contract.crd.resource import PrinterColumn, Resource, Scope
from relora_contract.crd.rules import ATOMIC, INT_OR_STRING, cel, map_list, remedy, validations
from relora_contract.model import Model
from relora_contract.scalars import LabelledName, ObjectName, S3Template, S3Uri, written_as_number

Quantity = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", max_length=32),
    BeforeValidator(written_as_number),
    Field(json_schema_extra={**INT_OR_STRING, **remedy("write a quantity, as in 500m, 16Gi or 1")}),
]
"""A Kubernetes quantity, as in `500m`, `16Gi` or `1`."""


class Store(Model):
    """Where the trainer's results go."""

    uri: S3Template = Field(
        description="Root of the adapters' store; `{namespace}` stands for the binding's namespace.",
        json_schema_extra=validations(
            cel(
                "self.contains('{namespace}')",
                "put {namespace} into the key: tenants must not share a store, or one could forge another's reports",
            )
        ),
    )
    delta_uri: S3Uri = Field(description="Root of the store of the bases' deltas, which all namespaces read.")
    endpoint: (
        Annotated[
            str,
            StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=253),
            Field(json_schema_extra=remedy("write http:// or https://, a host and at most a port: no path, no user")),
        ]
        | None
    ) = Field(default=None, description="Endpoint of the S3 service. Absent: that of AWS.")
    secret_name: ObjectName = Field(
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, by this name in every Job's namespace."
    )


class Credential(Model):
    """A secret for the URIs that start with a prefix; the longest prefix wins."""

    uri_prefix: S3Uri = Field(description="URIs that begin with it are read with the secret.")
    secret_name: ObjectName = Field(
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, by this name in every Job's namespace."
    )


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class Toleration(Model):
    """A taint that trainer pods tolerate."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
                "remove value: the operator Exists tolerates every value",
                field=".value",
            ),
            cel(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "give the taint's key, or the operator Exists to tolerate every taint",
                field=".key",
            ),
        )
    )

    key: LabelKey | None = Field(default=None, description="Key of the taint. Absent, with Exists: every taint.")
    operator: TolerationOperator | None = Field(
        default=None, description="Exists tolerates every value of the taint, Equal only `value`. Default Equal."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Absent: every effect."
    )


class Scheduling(Model):
    """Where trainer pods run, and which queue they wait in."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.workloadPriorityClassName) || has(self.localQueueName)",
                "name the queue too: a priority counts within one",
                field=".workloadPriorityClassName",
            )
        )
    )

    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=20)] | None = Field(
        default=None, description="Labels that a node must have."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=20, json_schema_extra=ATOMIC)] | None = Field(
        default=None, description="Taints of nodes that the pods tolerate."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pods.")
    local_queue_name: LabelledName | None = Field(
        default=None,
        description=(
            "Kueue's LocalQueue, by this name in every Job's namespace. The Jobs are created suspended, and Kueue "
            "starts them. Absent: they start at once."
        ),
    )
    workload_priority_class_name: LabelledName | None = Field(
        default=None, description="Kueue's WorkloadPriorityClass of the Jobs."
    )


class Resources(Model):
    """Resources of every container of the pod; the steps run one after the other."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
                "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
                "a request is above its limit: lower it, or raise the limit",
                field=".requests",
            )
        )
    )

    requests: Annotated[dict[LabelKey, Quantity], Field(max_length=10)] | None = Field(
        default=None, description="What the scheduler reserves. Absent: the limits."
    )
    limits: Annotated[dict[LabelKey, Quantity], Field(max_length=10)] | None = Field(
        default=None, description="What a container may use at most, as in `nvidia.com/gpu: 1`."
    )


class TrainerProfileSpec(Model):
    """How the Jobs of a release run."""

    image: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$", max_length=512),
        Field(
            json_schema_extra=remedy(
                "write <repository>@sha256:<digest>: results are kept by the image that made them, and a tag may move"
            )
        ),
    ] = Field(description="The trainer image, by digest.")
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount in the Job's namespace; its token is not mounted. Default `default`."
    )
    allowed_namespaces: NamespaceAdmission | None = Field(
        default=None, description="The namespaces in which the profile's Jobs may run. Absent: all."
    )
    store: Store
    credentials: Annotated[list[Credential], Field(max_length=16, json_schema_extra=map_list("uriPrefix"))] | None = (
        Field(
            default=None,
            description="Secrets for reading bases; the longest prefix wins. Other URIs are read with the store's.",
        )
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
    def local_queue_name(self) -> str | None:
        """The queue that Jobs wait in, if there is one."""
        return self.scheduling.local_queue_name if self.scheduling is not None else None

    @property
    def effective_pre_running_deadline_seconds(self) -> int:
        """`preRunningDeadlineSeconds` with its default."""
        return self.pre_running_deadline_seconds or 3600


class TrainerProfile(ApiObject):
    """Image, store, credentials and resources of the trainer's pods. Tenants only name releases, never a profile."""

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

    spec: TrainerProfileSpec

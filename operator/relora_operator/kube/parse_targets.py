"""Serving workloads, from JSON."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field
from pydantic.types import JsonValue

from relora_contract.api.meta import LabelSelector, ObjectMeta, SelectorOperator, SelectorRequirement
from relora_contract.model import Model
from relora_contract.wellknown import (
    ANNOTATION_SERVING_SET,
    ANNOTATION_SERVING_SET_DIGEST,
    FIELD_MANAGER,
    LABEL_ADAPTER_SERVER,
)
from relora_operator.core.observed import TargetView
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import KubeCondition, validated


class _ManagedFields(Model):
    manager: str = ""
    fields_v1: dict[str, JsonValue] = Field(default_factory=dict, alias="fieldsV1")


class _DeploymentMeta(ObjectMeta):
    managed_fields: list[_ManagedFields] = Field(default_factory=list)


class _Template(Model):
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class _DeploymentSpec(Model):
    selector: LabelSelector
    replicas: int = 1
    paused: bool = False
    template: _Template = Field(default_factory=_Template)


class _DeploymentStatus(Model):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    conditions: list[KubeCondition] = Field(default_factory=list)


class _Deployment(Model):
    metadata: _DeploymentMeta
    spec: _DeploymentSpec
    status: _DeploymentStatus = Field(default_factory=_DeploymentStatus)


@dataclass(frozen=True, kw_only=True)
class TargetRecord:
    """A target and the label selector of its pods."""

    view: TargetView
    pod_selector: str


def parse_target(raw: JsonObject) -> TargetRecord:
    """Return a Deployment as a target.

    Raises:
        UnreadableError: It is not a Deployment.
    """
    deployment = validated(_Deployment, raw)
    metadata, spec, status = deployment.metadata, deployment.spec, deployment.status
    annotations = spec.template.metadata.get("annotations")
    texts = (
        {key: value for key, value in annotations.items() if isinstance(value, str)}
        if isinstance(annotations, dict)
        else {}
    )
    view = TargetView(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        generation=metadata.generation,
        observed_generation=status.observed_generation,
        consent=metadata.labels.get(LABEL_ADAPTER_SERVER),
        controlled=any(owner.controller for owner in metadata.owner_references),
        paused=spec.paused,
        replicas=spec.replicas,
        updated_replicas=status.updated_replicas,
        available_replicas=status.available_replicas,
        total_replicas=status.replicas,
        progress_deadline_exceeded=any(
            condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded"
            for condition in status.conditions
        ),
        serving_set=texts.get(ANNOTATION_SERVING_SET),
        serving_set_digest=texts.get(ANNOTATION_SERVING_SET_DIGEST),
        other_managers=_other_managers(metadata.managed_fields),
    )
    return TargetRecord(view=view, pod_selector=selector_text(spec.selector))


def selector_text(selector: LabelSelector) -> str:
    """Return a label selector as the query parameter `labelSelector` takes it."""
    labels = [f"{key}={value}" for key, value in (selector.match_labels or {}).items()]
    return ",".join([*labels, *(_requirement_text(requirement) for requirement in selector.match_expressions or [])])


def _requirement_text(requirement: SelectorRequirement) -> str:
    values = ",".join(requirement.values or [])
    match requirement.operator:
        case SelectorOperator.IN:
            return f"{requirement.key} in ({values})"
        case SelectorOperator.NOT_IN:
            return f"{requirement.key} notin ({values})"
        case SelectorOperator.EXISTS:
            return requirement.key
        case SelectorOperator.DOES_NOT_EXIST:
            return f"!{requirement.key}"


_TEMPLATE_ANNOTATIONS = ("f:spec", "f:template", "f:metadata", "f:annotations")


def _other_managers(managed: Iterable[_ManagedFields]) -> tuple[str, ...]:
    owners = {entry.manager for entry in managed if _owns_ours(entry.fields_v1)}
    return tuple(sorted(owners - {FIELD_MANAGER}))


def _owns_ours(fields: JsonValue) -> bool:
    for part in _TEMPLATE_ANNOTATIONS:
        if not isinstance(fields, dict):
            return False
        fields = fields.get(part)
    ours = {f"f:{ANNOTATION_SERVING_SET}", f"f:{ANNOTATION_SERVING_SET_DIGEST}"}
    return isinstance(fields, dict) and not ours.isdisjoint(fields)

"""Parts that all kinds share: metadata as we read it, conditions, references, selectors."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from relora_contract.crd.rules import ATOMIC
from relora_contract.model import Model
from relora_contract.scalars import ObjectName, Timestamp

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]


class OwnerReference(Model):
    """The object that a dependent is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(Model):
    """The part of `metadata` that decisions depend on."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[OwnerReference] = Field(default_factory=list)


class ConditionStatus(StrEnum):
    """Three-valued truth of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One aspect of an object's state, in the form of `metav1.Condition`."""

    type: Annotated[str, StringConstraints(max_length=63)]
    status: ConditionStatus
    observed_generation: int = 0
    last_transition_time: Timestamp
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", min_length=1, max_length=63)]
    message: Annotated[str, StringConstraints(max_length=1024)] = ""


class SelectorOperator(StrEnum):
    """How a requirement compares a label with its values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorRequirement(Model):
    """One line of `matchExpressions`."""

    key: LabelKey
    operator: SelectorOperator
    values: Annotated[list[LabelValue], Field(max_length=50, json_schema_extra=ATOMIC)] | None = None


class LabelSelector(Model):
    """`metav1.LabelSelector`. The empty selector matches everything."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=50)] | None = None
    match_expressions: Annotated[list[SelectorRequirement], Field(max_length=20, json_schema_extra=ATOMIC)] | None = (
        None
    )

    def matches(self, labels: dict[str, str]) -> bool:
        """Tell whether `labels` fulfil every requirement."""
        wanted = self.match_labels or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            return False
        return all(_fulfilled(requirement, labels) for requirement in self.match_expressions or [])


def _fulfilled(requirement: SelectorRequirement, labels: dict[str, str]) -> bool:
    present = requirement.key in labels
    values = requirement.values or []
    match requirement.operator:
        case SelectorOperator.IN:
            return present and labels[requirement.key] in values
        case SelectorOperator.NOT_IN:
            return not present or labels[requirement.key] not in values
        case SelectorOperator.EXISTS:
            return present
        case SelectorOperator.DOES_NOT_EXIST:
            return not present


class NamespaceAdmission(Model):
    """The namespaces that may take part, by their labels. An empty selector admits all."""

    selector: LabelSelector


class LocalRef(Model):
    """Name of an object in the same namespace, or of a cluster-scoped one."""

    name: ObjectName

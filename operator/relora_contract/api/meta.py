"""Parts that all kinds share: metadata as we read it, conditions, references, selectors."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.crd.resource import Resource
from relora_contract.crd.rules import ATOMIC, cel, validations
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


class ApiObject(Model):
    """An object of one of our kinds. Subclasses add `spec` and, where the kind has one, `status`."""

    resource: ClassVar[Resource]

    metadata: ObjectMeta


class ConditionStatus(StrEnum):
    """Three-valued truth of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One aspect of an object's state, in the form of `metav1.Condition`."""

    type: Annotated[str, StringConstraints(max_length=63)] = Field(description="Which aspect.")
    status: ConditionStatus
    observed_generation: int = Field(default=0, description="The generation of the object that this was found for.")
    last_transition_time: Timestamp = Field(description="When `status` last changed.")
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", min_length=1, max_length=63)] = Field(
        description="Why, as one word for programs; the documentation lists all of them with their remedies."
    )
    message: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="Why, as a sentence for people."
    )


class SelectorOperator(StrEnum):
    """How a requirement compares a label with its values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorRequirement(Model):
    """One line of `matchExpressions`."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                "give values with the operators In and NotIn, and none with Exists and DoesNotExist",
                field=".values",
            )
        )
    )

    key: LabelKey = Field(description="Name of the label.")
    operator: SelectorOperator
    values: Annotated[list[LabelValue], Field(max_length=50, json_schema_extra=ATOMIC)] | None = Field(
        default=None, description="What In and NotIn compare the label with."
    )


class LabelSelector(Model):
    """`metav1.LabelSelector`. The empty selector matches everything."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=50)] | None = Field(
        default=None, description="Labels that must have exactly these values."
    )
    match_expressions: Annotated[list[SelectorRequirement], Field(max_length=20, json_schema_extra=ATOMIC)] | None = (
        Field(default=None, description="Requirements that must all hold.")
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

    name: ObjectName = Field(description="Name of the object.")

"""What a decision asks for. The executor carries the actions out in order and stops at the first that fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic.types import JsonValue

from relora_contract.model import Model

Kind = Literal["BaseModelRelease", "AdapterBinding", "AdapterServer"]


class Key(NamedTuple):
    """Names one object to reconcile. `namespace` is empty for cluster-scoped kinds."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class CreateJob:
    """Create a Job; AlreadyExists is success when the existing Job has the same owner.

    A Job that the server refuses is remembered, and `owner` is decided on again.
    """

    owner: Key
    namespace: str
    name: str
    manifest: Mapping[str, JsonValue]


@dataclass(frozen=True, kw_only=True)
class DeleteJob:
    """Delete a Job and its pods, only if it is still the one that was seen."""

    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, kw_only=True)
class SetJobTtl:
    """Let the Job controller delete a finished Job after `seconds`."""

    namespace: str
    name: str
    uid: str
    seconds: int


@dataclass(frozen=True, kw_only=True)
class ApplyServingSet:
    """Write the two annotations on the pod template of a Deployment by server-side apply, never forced."""

    namespace: str
    name: str
    resource_version: str
    serving_set: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class WriteStatus:
    """Write the whole status of the key's object, when it differs from the one that was read."""

    key: Key
    resource_version: str
    status: Model


@dataclass(frozen=True, kw_only=True)
class EmitEvent:
    """Tell people of a transition."""

    key: Key
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class GrantSlots:
    """Replace the set of bindings that may have an active Job for a release; newly granted keys are enqueued."""

    release: str
    bindings: frozenset[Key]


Action = CreateJob | DeleteJob | SetJobTtl | ApplyServingSet | WriteStatus | EmitEvent | GrantSlots


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The actions of one decision, in order, and when to look again although nothing happened.

    Whom its writes concern it does not say: that follows from what changed, whoever changed it.
    """

    actions: tuple[Action, ...] = ()
    requeue_after_seconds: float | None = None

"""From the API server's JSON to what decisions see. Each object is parsed alone: a bad one harms no other."""

from collections.abc import Iterable
from typing import TypeVar

from pydantic import AwareDatetime, ValidationError

from relora_contract.api.meta import ObjectMeta
from relora_contract.model import Model
from relora_contract.wellknown import GROUP
from relora_operator.core.observed import NamespaceView
from relora_operator.kube.errors import JsonObject

ApiModel = TypeVar("ApiModel", bound=Model)


class UnreadableError(ValueError):
    """An object does not have the form that this version knows."""


class KubeCondition(Model):
    """A condition of a built-in kind."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_transition_time: AwareDatetime | None = None


class _Metadata(Model):
    metadata: ObjectMeta


def parse_own(model: type[ApiModel], raw: JsonObject) -> ApiModel:
    """Return an object of one of our kinds, without the annotations that are not ours.

    Raises:
        UnreadableError: The object has another form, as after a downgrade.
    """
    metadata = raw.get("metadata")
    if isinstance(metadata, dict) and isinstance(annotations := metadata.get("annotations"), dict):
        ours = {key: value for key, value in annotations.items() if key.startswith(f"{GROUP}/")}
        raw = {**raw, "metadata": {**metadata, "annotations": ours}}
    return validated(model, raw)


def parse_metadata(raw: JsonObject) -> ObjectMeta:
    """Return the metadata of any object.

    Raises:
        UnreadableError: It has none.
    """
    return validated(_Metadata, raw).metadata


def parse_namespace(raw: JsonObject) -> NamespaceView:
    """Return a namespace.

    Raises:
        UnreadableError: It is not one.
    """
    metadata = parse_metadata(raw)
    return NamespaceView(
        name=metadata.name, labels=metadata.labels, terminating=metadata.deletion_timestamp is not None
    )


def validated(model: type[ApiModel], raw: JsonObject) -> ApiModel:
    """Return `raw` as `model`.

    Raises:
        UnreadableError: It has another form; the message names the fields.
    """
    try:
        return compact(model.model_validate(raw))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()[:3]
        )
        raise UnreadableError(problems) from error


_FIELD_SETS: dict[frozenset[str], set[str]] = {}


def compact(value: ApiModel) -> ApiModel:
    """Return a model whose parts share what pydantic notes of each: the set of the fields that were given.

    Those sets are nearly half of an object's size, there are only so many different ones, and models are immutable: a
    copy of a model gets a set of its own.
    """
    _share(value)
    return value


def _share(value: object) -> None:
    if isinstance(value, Model):
        names = value.__pydantic_fields_set__
        object.__setattr__(value, "__pydantic_fields_set__", _FIELD_SETS.setdefault(frozenset(names), names))
        for part in value.__dict__.values():
            _share(part)
    elif isinstance(value, list):
        for part in value:
            _share(part)


def true_condition(conditions: Iterable[KubeCondition], kind: str) -> KubeCondition | None:
    """Return the condition `kind` if there is one and it is true."""
    return next((condition for condition in conditions if condition.type == kind and condition.status == "True"), None)

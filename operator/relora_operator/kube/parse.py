"""From the API server's JSON to what decisions see. Each object is parsed alone: a bad one harms no other."""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pydantic import AwareDatetime, ValidationError, create_model

from relora_contract.api.meta import ApiObject, ObjectMeta
from relora_contract.model import Model
from relora_contract.wellknown import GROUP
from relora_operator.core.observed import NamespaceView
from relora_operator.kube.compact import compact, compact_outside
from relora_operator.kube.errors import JsonObject

ApiModel = TypeVar("ApiModel", bound=Model)
OwnModel = TypeVar("OwnModel", bound=ApiObject)


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
    return compact(validated(model, {**raw, "metadata": _own_metadata(raw)}))


def parse_newer(model: type[OwnModel], raw: JsonObject, before: OwnModel) -> OwnModel:
    """Return a newer state of an object of ours that has a status; the spec is `before`'s where it cannot be another.

    The API server counts the generation of such a kind up with every change of the spec. A release writes the status
    of each binding several times, and its spec is most of an object.

    Raises:
        UnreadableError: The object has another form, as after a downgrade.
    """
    known, found = before.metadata, identity(raw)
    generation = _own_metadata(raw).get("generation")
    if not generation or (known.uid, known.generation) != (found.uid, generation):
        return parse_own(model, raw)
    changing: JsonObject = {"status": raw["status"]} if "status" in raw else {}
    part = compact(validated(_changing_part(model), {"metadata": _own_metadata(raw), **changing}))
    return compact_outside(before.model_copy(update=dict(part)))


@cache
def _changing_part(model: type[ApiObject]) -> type[Model]:
    """Return the model of metadata and status of a kind."""
    fields = {name: model.model_fields[name] for name in ("metadata", "status")}
    parts: dict[str, Any] = {name: (field.annotation, field) for name, field in fields.items()}
    return create_model(f"{model.__name__}Change", __base__=Model, **parts)


def _own_metadata(raw: JsonObject) -> JsonObject:
    """Return the metadata without the annotations that are not ours."""
    metadata = raw.get("metadata")
    if not isinstance(metadata, dict):
        raise UnreadableError("metadata: there is none")
    if isinstance(annotations := metadata.get("annotations"), dict):
        ours: JsonObject = {key: value for key, value in annotations.items() if key.startswith(f"{GROUP}/")}
        return {**metadata, "annotations": ours}
    return metadata


class Identity(NamedTuple):
    """Which object it is, and which version of it."""

    namespace: str
    name: str
    uid: str
    resource_version: str


_PARTS = ("namespace", "name", "uid", "resourceVersion")


def identity(raw: JsonObject) -> Identity:
    """Return what tells an object from others; it is asked for with every event, most of which are no news.

    Raises:
        UnreadableError: It has no usable metadata.
    """
    metadata = raw.get("metadata")
    if isinstance(metadata, dict):
        texts = [text for part in _PARTS if isinstance(text := metadata.get(part, ""), str)]
        if len(texts) == len(_PARTS) and metadata.get("name"):
            return Identity(*texts)
    raise UnreadableError("metadata: name, namespace, uid and resourceVersion must be texts, and name is required")


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
        return model.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()[:3]
        )
        raise UnreadableError(problems) from error


def true_condition(conditions: Iterable[KubeCondition], kind: str) -> KubeCondition | None:
    """Return the condition `kind` if there is one and it is true."""
    return next((condition for condition in conditions if condition.type == kind and condition.status == "True"), None)

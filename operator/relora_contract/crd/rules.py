"""Schema extensions that pydantic has no word for, written beside the field that they bind."""

from pydantic.types import JsonValue


def cel(rule: str, message: str) -> dict[str, JsonValue]:
    """Return one CEL rule. `message` is shown to the user: it names the field and the remedy."""
    return {"rule": rule, "message": message}


def validations(*rules: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the schema extension that carries `rules`."""
    return {"x-kubernetes-validations": list(rules)}


def immutable(remedy: str) -> dict[str, JsonValue]:
    """Return the extension that refuses any change of the field's value."""
    return validations(cel("self == oldSelf", f"the field is immutable: {remedy}"))


def map_list(*keys: str) -> dict[str, JsonValue]:
    """Return the extension that makes a list of objects a map by `keys`, so that server-side apply can merge it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC: dict[str, JsonValue] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}

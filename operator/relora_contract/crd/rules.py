"""Schema extensions that pydantic has no word for, written beside the field that they bind."""

from pydantic.types import JsonValue

REMEDY = "x-relora-remedy"
"""Not part of any CRD: the generator turns it and the pattern beside it into a rule with a message."""


def cel(rule: str, message: str, *, field: str | None = None) -> dict[str, JsonValue]:
    """Return one CEL rule.

    Args:
        rule: Expression over `self` (and `oldSelf`) that must be true.
        message: Shown to the user; it says the remedy.
        field: Path below `self` that the error is reported at, as in `.servedName`. Default: `self`.
    """
    path: dict[str, JsonValue] = {"fieldPath": field} if field else {}
    return {"rule": rule, "message": message, **path}


def validations(*rules: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the schema extension that carries `rules`."""
    return {"x-kubernetes-validations": list(rules)}


def immutable(remedy: str) -> dict[str, JsonValue]:
    """Return the extension that refuses any change of the field's value."""
    return validations(cel("self == oldSelf", f"the field is immutable: {remedy}"))


def remedy(message: str) -> dict[str, JsonValue]:
    """Return the extension that tells the user what to write where the field's pattern does not match."""
    return {REMEDY: message}


def map_list(*keys: str) -> dict[str, JsonValue]:
    """Return the extension that makes a list of objects a map by `keys`, so that server-side apply can merge it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


ATOMIC: dict[str, JsonValue] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}
INT_OR_STRING: dict[str, JsonValue] = {"x-kubernetes-int-or-string": True}
"""For quantities and percentages: YAML reads `cpu: 2` as a number."""

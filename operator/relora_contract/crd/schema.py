"""From the JSON schema that pydantic writes to the structural schema that the Kubernetes API server accepts.

The rewriting knows every keyword that our models may produce and refuses all others, so that a new construct in a
model fails here, with its path, and not in a cluster. The rules of structural schemas are those of the Kubernetes
documentation, "Extend the Kubernetes API with CustomResourceDefinitions". Three rules are our own: everything of
variable size has a bound (the API server estimates the cost of CEL rules from it), every list says how server-side
apply merges it, and every field has a description.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.types import JsonValue

from relora_contract.crd.rules import REMEDY, cel

Schema = dict[str, JsonValue]

_VALIDATIONS = "x-kubernetes-validations"
_INT_OR_STRING = "x-kubernetes-int-or-string"

_DROPPED = frozenset({"title", "default"})
"""Defaults stay in Python: in the schema they would rewrite stored objects."""

_KEPT = (
    "description",
    "type",
    "format",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    _VALIDATIONS,
)
_REWRITTEN = frozenset(
    {
        "const",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "properties",
        "items",
        "additionalProperties",
        "propertyNames",
        _INT_OR_STRING,
        REMEDY,
    }
)


class SchemaError(ValueError):
    """A model has a construct that a structural schema cannot express, or lacks a bound that it needs."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or '(root)'}: {problem}")
        self.path = path


def structural_schema(model: type[BaseModel], *, given: Mapping[str, Schema] | None = None, path: str = "") -> Schema:
    """Return the structural schema of `model`, with references inlined.

    Args:
        model: A model whose JSON names are those of the API.
        given: Schemas of top-level properties that are taken as they are, instead of the model's.
        path: Where the model lies; it begins the paths in errors.

    Raises:
        SchemaError: A construct is not allowed, or a bound or a description is missing.
    """
    document: Schema = model.model_json_schema(by_alias=True)
    definitions = _as_schema(document.pop("$defs", {}), path)
    properties = _as_schema(document["properties"], path)
    taken = {name: schema for name, schema in (given or {}).items() if name in properties}
    document["properties"] = {name: schema for name, schema in properties.items() if name not in taken}
    schema = _Rewriting(definitions).rewrite(document, path, ())
    schema["properties"] = {**taken, **_as_schema(schema["properties"], path)}
    return schema


@dataclass(frozen=True)
class _Rewriting:
    definitions: Schema

    def rewrite(self, node: Schema, path: str, trail: tuple[str, ...]) -> Schema:
        """Return the structural form of `node`; `trail` holds the references that led to it."""
        node, trail = self._resolve(node, path, trail)
        for keyword in node:
            if keyword not in _KEPT and keyword not in _REWRITTEN and keyword not in _DROPPED:
                raise SchemaError(path, f"{keyword!r} is not allowed in a structural schema")
        result = _with_remedy(node, path)
        result |= _enumeration(node, path) | _exclusive_bounds(node)
        if _INT_OR_STRING in node:
            # The one place where the API server allows a type inside anyOf, and it must have exactly this form.
            del result["type"]
            result |= {_INT_OR_STRING: True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        elif "type" not in node:
            raise SchemaError(path, "the type is missing; Any cannot be validated")
        result |= self._children(node, path, trail)
        _check_bounds(result, path)
        return result

    def _resolve(self, node: Schema, path: str, trail: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Inline references and drop the null of optional values: in our API absent and null are the same."""
        while True:
            if "$ref" in node:
                name = str(node["$ref"]).removeprefix("#/$defs/")
                if name in trail:
                    raise SchemaError(path, f"{name} refers to itself, which no structural schema can express")
                trail = (*trail, name)
                inner = _as_schema(self.definitions[name], path)
                node = _merge(inner, {key: value for key, value in node.items() if key != "$ref"})
            elif "anyOf" in node:
                inner = _only_alternative(node, path)
                node = _merge(inner, {key: value for key, value in node.items() if key != "anyOf"})
            else:
                return node, trail

    def _children(self, node: Schema, path: str, trail: tuple[str, ...]) -> Schema:
        children: Schema = {}
        if "properties" in node:
            required = node.get("required", [])
            children["properties"] = {
                name: self._property(
                    _as_schema(child, path), f"{path}.{name}".lstrip("."), trail, required=name in _as_list(required)
                )
                for name, child in _as_schema(node["properties"], path).items()
            }
        elif node.get("additionalProperties"):
            values = _as_schema(node["additionalProperties"], path)
            children["additionalProperties"] = self.rewrite(values, f"{path}.*", trail)
            children |= _key_rules(node, path)
        elif node.get("type") == "object":
            children["properties"] = {}
        if "items" in node:
            children["items"] = self.rewrite(_as_schema(node["items"], path), f"{path}[]", trail)
        return children

    def _property(self, node: Schema, path: str, trail: tuple[str, ...], *, required: bool) -> Schema:
        if required and {"type": "null"} in _as_list(node.get("anyOf", [])):
            raise SchemaError(path, "a field that may be None needs the default None: absent and null are the same")
        result = self.rewrite(node, path, trail)
        if not result.get("description"):
            raise SchemaError(path, "the field has no description")
        return result


def _with_remedy(node: Schema, path: str) -> Schema:
    """Keep the allowed keywords; beside a pattern with a remedy set a rule that says it."""
    result = {keyword: node[keyword] for keyword in _KEPT if keyword in node}
    if REMEDY in node:
        if "pattern" not in node:
            raise SchemaError(path, "the remedy has no pattern beside it")
        text = "string(self)" if _INT_OR_STRING in node else "self"
        rule = cel(f"{text}.matches({json.dumps(node['pattern'])})", str(node[REMEDY]))
        result[_VALIDATIONS] = [rule, *_as_list(result.get(_VALIDATIONS, []))]
    return result


def _enumeration(node: Schema, path: str) -> Schema:
    if "const" not in node:
        return {}
    if not isinstance(node["const"], str):
        raise SchemaError(path, "only strings may be constants")
    return {"enum": [node["const"]]}


def _exclusive_bounds(node: Schema) -> Schema:
    """Return the OpenAPI 3.0 form of exclusive bounds: the number, and a flag beside it."""
    bounds: Schema = {}
    if "exclusiveMinimum" in node:
        bounds |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    if "exclusiveMaximum" in node:
        bounds |= {"maximum": node["exclusiveMaximum"], "exclusiveMaximum": True}
    return bounds


def _key_rules(node: Schema, path: str) -> Schema:
    """Return the rule that bounds the keys of a map; structural schemas have no `propertyNames`."""
    if "propertyNames" not in node:
        raise SchemaError(path, "the keys of the map have no bounds")
    names = _as_schema(node["propertyNames"], path)
    if unknown := set(names) - {"minLength", "maxLength"}:
        raise SchemaError(path, f"keys of maps can be bounded in length only, not by {sorted(unknown)}")
    low, high = names.get("minLength", 0), names["maxLength"]
    rule = cel(f"self.all(key, key.size() >= {low} && key.size() <= {high})", f"keys have {low} to {high} characters")
    return {_VALIDATIONS: [*_as_list(node.get(_VALIDATIONS, [])), rule]}


def _check_bounds(schema: Schema, path: str) -> None:
    bounds = {"string": "maxLength", "array": "maxItems"}
    kind = schema.get("type")
    if isinstance(kind, str) and kind in bounds and bounds[kind] not in schema and "enum" not in schema:
        raise SchemaError(path, f"{bounds[kind]} is missing")
    if "additionalProperties" in schema and "maxProperties" not in schema:
        raise SchemaError(path, "maxProperties is missing")
    if kind == "array" and "x-kubernetes-list-type" not in schema:
        raise SchemaError(path, "x-kubernetes-list-type is missing: atomic, set or map")
    for rule in _as_list(schema.get(_VALIDATIONS, [])):
        if not isinstance(rule, dict) or "\n" in str(rule.get("message", "\n")):
            raise SchemaError(path, "a CEL rule needs a message of one line")


def _only_alternative(node: Schema, path: str) -> Schema:
    alternatives = [_as_schema(branch, path) for branch in _as_list(node["anyOf"])]
    values = [branch for branch in alternatives if branch.get("type") != "null"]
    if len(values) != 1:
        raise SchemaError(path, "a union of types is not allowed in a structural schema")
    return values[0]


def _merge(inner: Schema, outer: Schema) -> Schema:
    """Lay the keywords beside a reference over its target; the rules of both hold."""
    rules = [*_as_list(inner.get(_VALIDATIONS, [])), *_as_list(outer.get(_VALIDATIONS, []))]
    return {**inner, **outer, **({_VALIDATIONS: rules} if rules else {})}


def _as_schema(value: JsonValue, path: str) -> Schema:
    if not isinstance(value, dict):
        raise SchemaError(path, f"a schema was expected, not {value!r}")
    return value


def _as_list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, not {value!r}")
    return value

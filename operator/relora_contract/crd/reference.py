"""The reference page of the custom resources, written from the same schemas that the API server enforces."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.types import JsonValue

from relora_contract.api.meta import ApiObject
from relora_contract.crd.definition import KINDS, kind_schema
from relora_contract.crd.resource import Scope
from relora_contract.crd.schema import Schema
from relora_contract.wellknown import API_VERSION

_INTRODUCTION = f"""# Custom resources

All kinds belong to `{API_VERSION}` and the category `relora` (`kubectl get relora -A`). An asterisk marks required
fields. `[]` stands for the items of a list, `*` for the values of a map. Fields of `status` are written by the
operator. Absent and `null` are the same. Defaults that a description names are applied by the operator; stored objects
are not rewritten. Object names have at most 40 characters and are DNS labels.
"""

_SCOPES = {Scope.CLUSTER: "Cluster-scoped", Scope.NAMESPACED: "Namespaced"}


@dataclass(frozen=True)
class Field:
    """One line of the page."""

    path: str
    schema: Schema
    required: bool


def reference_page() -> str:
    """Return the page as Markdown."""
    return "\n".join([_INTRODUCTION, *(_section(kind) for kind in KINDS)])


def fields_of(schema: Schema, path: str = "", *, required: bool = True) -> Iterator[Field]:
    """Yield every field below `schema` in order of its writing, items of lists and values of maps included."""
    if path:
        yield Field(path, schema, required)
    names = schema.get("required", [])
    for name, child in _schema(schema.get("properties")).items():
        below = f"{path}.{name}" if path else name
        yield from fields_of(_schema(child), below, required=isinstance(names, list) and name in names)
    if "items" in schema:
        yield from fields_of(_schema(schema["items"]), f"{path}[]")
    if "additionalProperties" in schema:
        yield from fields_of(_schema(schema["additionalProperties"]), f"{path}.*")


def _section(kind: type[ApiObject]) -> str:
    resource, schema = kind.resource, kind_schema(kind)
    lines = [
        f"## {resource.kind}",
        "",
        f"{_text(schema)} {_SCOPES[resource.scope]}; short name `{resource.short_name}`.",
        "",
        *_rules(schema),
        "| Field | Type | Meaning |",
        "|---|---|---|",
    ]
    for field in fields_of(schema):
        head = field.path.partition(".")[0]
        leaf = field.path.endswith(("[]", ".*")) and "properties" not in field.schema
        if head in {"apiVersion", "kind", "metadata"} or leaf:
            continue
        mark = "*" if field.required and not field.path.endswith(("[]", ".*")) else ""
        lines.append(f"| `{field.path}`{mark} | {_type(field.schema)} | {_meaning(field.schema)} |")
    return "\n".join([*lines, ""])


def _rules(schema: Schema) -> list[str]:
    messages = [f"- {message}" for message in _messages(schema) if not message.startswith("the name ")]
    return ["Refused at admission:", "", *messages, ""] if messages else []


def _type(schema: Schema) -> str:
    match schema:
        case {"enum": [*values]}:
            text = "one of " + ", ".join(f"`{value}`" for value in values)
        case {"items": dict(items)}:
            text = f"list of {_range(schema, 'Items')}: {_type(items)}"
        case {"additionalProperties": dict(values)}:
            text = f"map of {_range(schema, 'Properties')}: {_type(values)}"
        case {"x-kubernetes-int-or-string": True}:
            text = "integer or string"
        case {"format": str(form)}:
            text = form
        case {"type": "string"}:
            text = f"string of {_range(schema, 'Length')}"
        case {"type": "integer", "minimum": low, "maximum": high}:
            text = f"integer, {low} to {high}"
        case _:
            text = str(schema["type"])
    return text


def _range(schema: Schema, of: str) -> str:
    low, high = schema.get(f"min{of}"), schema[f"max{of}"]
    return f"{low} to {high}" if low else f"up to {high}"


def _meaning(schema: Schema) -> str:
    rules = [f"Rule: {message}." for message in _messages(schema)]
    return " ".join([_text(schema), *rules]).replace("|", "\\|")


def _messages(schema: Schema) -> list[str]:
    """Return what the rules of `schema` say. That a field is immutable stands in its description already."""
    messages = [str(_schema(rule)["message"]) for rule in _list(schema.get("x-kubernetes-validations", []))]
    return [message for message in messages if not message.startswith("the field is immutable")]


def _text(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split())


def _schema(value: JsonValue) -> Schema:
    return value if isinstance(value, dict) else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []

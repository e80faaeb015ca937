"""Every constraint of a schema, found by walking it along a document that has every field."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from admission.documents import Steps, field_path, value_at

_KEYWORDS = (
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)


@dataclass(frozen=True)
class Constraint:
    """One constraint, at the place where the document meets it."""

    kind: str
    steps: Steps
    keyword: str
    """A keyword of the schema, `required`, `unique` (of a list's items) or `rule`."""
    argument: Any
    schema: dict[str, Any]
    document: Any
    """The whole document that has something at the place."""

    @property
    def label(self) -> str:
        """A name for test reports."""
        detail = f" '{self.argument['message']}'" if self.keyword == "rule" else ""
        return f"{self.kind} {field_path(self.steps)} {self.keyword}{detail}"


def constraints(
    kind: str, schema: dict[str, Any], document: object, steps: Steps = (), *, without: Steps | None = None
) -> Iterator[Constraint]:
    """Yield the constraints of `schema` and of everything below it, which lies at `steps` of the document.

    Lists are followed into their first item, maps into their first value. `without` is a place that the document
    must leave empty.

    Raises:
        LookupError: The document lacks a field of the schema, so that its constraints could not be tried.
    """
    for keyword in _KEYWORDS:
        if keyword in schema:
            yield Constraint(kind, steps, keyword, schema[keyword], schema, document)
    for rule in schema.get("x-kubernetes-validations", ()):
        yield Constraint(kind, steps, "rule", rule, schema, document)
    if schema.get("x-kubernetes-list-type") in {"set", "map"}:
        yield Constraint(kind, steps, "unique", True, schema, document)
    for name in schema.get("required", ()):
        yield Constraint(kind, (*steps, name), "required", True, schema, document)
    for step, child in _children(schema, value_at(document, steps), steps, without):
        yield from constraints(kind, child, document, (*steps, step), without=without)


def _children(
    schema: dict[str, Any],
    value: Any,  # noqa: ANN401 - JSON
    steps: Steps,
    without: Steps | None,
) -> Iterator[tuple[str | int, dict[str, Any]]]:
    try:
        for name, child in schema.get("properties", {}).items():
            if (*steps, name) != without:
                value_at(value, (name,))
                yield name, child
        if "additionalProperties" in schema:
            yield next(iter(value)), schema["additionalProperties"]
        if "items" in schema:
            value_at(value, (0,))
            yield 0, schema["items"]
    except (LookupError, StopIteration) as missing:
        raise LookupError(f"the sample has nothing at {field_path(steps)} for {missing}") from missing

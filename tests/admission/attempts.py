"""For each constraint that a machine can break: changes that it accepts and changes that it refuses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from admission.constraints import Constraint
from admission.documents import Steps, field_path, removed, replaced, value_at


@dataclass(frozen=True)
class Attempt:
    """One change of a valid document and what the API server must say."""

    document: dict[str, Any]
    refused_at: str | None = None
    """The field that the error names; None when the change is accepted."""
    message: str = ""
    """A part of the error's text."""


def attempts(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    """Yield attempts for a constraint that is no CEL rule."""
    makers = {
        "required": _required,
        "enum": _enum,
        "pattern": _pattern,
        "minimum": _bound,
        "maximum": _bound,
        "minLength": _min_length,
        "maxLength": _max_length,
        "minItems": _min_items,
        "maxItems": _max_items,
        "maxProperties": _max_properties,
        "unique": _unique,
    }
    yield from makers[constraint.keyword](constraint, base)


def _required(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    yield Attempt(base)
    yield Attempt(removed(base, constraint.steps), field_path(constraint.steps), "Required value")


def _enum(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    yield Attempt(base)
    listed = ", ".join(f'"{value}"' for value in constraint.argument)
    yield _change(constraint, base, "Unknown1", f"supported values: {listed}")


def _pattern(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    yield Attempt(base)
    yield _change(constraint, base, "?!?", f"should match '{constraint.argument}'")


def _bound(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    below = constraint.keyword == "minimum"
    outside = constraint.argument - 1 if below else constraint.argument + 1
    word = "greater" if below else "less"
    yield Attempt(replaced(base, constraint.steps, constraint.argument))
    yield _change(constraint, base, outside, f"should be {word} than or equal to {constraint.argument}")


def _min_length(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    yield Attempt(base)
    yield _change(constraint, base, "", f"should be at least {constraint.argument} chars long")


def _max_length(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    present = str(value_at(base, constraint.steps))
    longest = present.ljust(constraint.argument, "a")
    pattern = str(constraint.schema.get("pattern", ""))
    if re.search(pattern, longest) and "format" not in constraint.schema:
        yield Attempt(replaced(base, constraint.steps, longest))
    yield _change(constraint, base, present.ljust(constraint.argument + 1, "a"), f"{constraint.argument}")


def _min_items(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    present = value_at(base, constraint.steps)
    yield Attempt(replaced(base, constraint.steps, present[: constraint.argument]))
    message = f"should have at least {constraint.argument} items"
    yield _change(constraint, base, present[: constraint.argument - 1], message)


def _max_items(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    first = value_at(base, constraint.steps)[0]
    merge = constraint.schema["x-kubernetes-list-type"]
    most = [f"{first}{index}" if merge == "set" else first for index in range(constraint.argument + 1)]
    if merge in {"atomic", "set"}:
        yield Attempt(replaced(base, constraint.steps, most[:-1]))
    yield _change(constraint, base, most, f"must have at most {constraint.argument} items")


def _max_properties(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    first = next(iter(value_at(base, constraint.steps).values()))
    most = {f"key-{index}": first for index in range(constraint.argument)}
    yield Attempt(replaced(base, constraint.steps, most))
    yield _change(constraint, base, {**most, "one": first}, f"must have at most {constraint.argument}")


def _unique(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    yield Attempt(base)
    present = value_at(base, constraint.steps)
    doubled = [*present, present[0]]
    where: Steps = (*constraint.steps, len(present))
    yield Attempt(replaced(base, constraint.steps, doubled), field_path(where), "Duplicate value")


def _change(constraint: Constraint, base: dict[str, Any], value: object, message: str) -> Attempt:
    return Attempt(replaced(base, constraint.steps, value), field_path(constraint.steps), message)

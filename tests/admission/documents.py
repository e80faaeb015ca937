"""Reading and changing places in JSON documents."""

from copy import deepcopy
from typing import Any

Steps = tuple[str | int, ...]


def value_at(document: Any, steps: Steps) -> Any:  # noqa: ANN401 - JSON
    """Return what lies at `steps`.

    Raises:
        LookupError: Nothing lies there.
    """
    for step in steps:
        document = document[step]
    return document


def replaced(document: dict[str, Any], steps: Steps, value: object) -> dict[str, Any]:
    """Return a copy with `value` at `steps`; objects on the way are made where they are missing."""
    copy = deepcopy(document)
    parent: Any = copy
    for step in steps[:-1]:
        parent = parent.setdefault(step, {}) if isinstance(step, str) else parent[step]
    parent[steps[-1]] = deepcopy(value)
    return copy


def removed(document: dict[str, Any], steps: Steps) -> dict[str, Any]:
    """Return a copy without what lies at `steps`."""
    copy = deepcopy(document)
    del value_at(copy, steps[:-1])[steps[-1]]
    return copy


def field_path(steps: Steps) -> str:
    """Return the place as the API server names it in errors."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")

"""A document with every field of a schema, made from the schema alone."""

import re
from typing import Any

from samples.kinds import digest

_TEXTS = (digest("example"), "0.5", "example", "Example", "s3://bucket/key")


def example(schema: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return a value that has every property of `schema` and one item in every list."""
    value: object
    match schema:
        case {"enum": [first, *_]}:
            value = first
        case {"properties": properties}:
            value = {name: example(child) for name, child in properties.items()}
        case {"items": items}:
            value = [example(items)]
        case {"format": "date-time"}:
            value = "2026-11-23T02:07:06Z"
        case {"type": "string"}:
            value = next(text for text in _TEXTS if _fits(text, schema))
        case {"type": "integer"}:
            value = schema.get("minimum", 1)
        case {"type": "boolean"}:
            value = True
        case _:
            raise AssertionError(schema)
    return value


def _fits(text: str, schema: dict[str, Any]) -> bool:
    return len(text) <= schema["maxLength"] and re.search(schema.get("pattern", ""), text) is not None

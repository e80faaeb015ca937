"""Canonical JSON and the digests that name weights, requests and serving sets.

A digest is written `sha256:<64 hex digits>`. Canonical JSON is UTF-8, keys sorted by code point, no white space,
no NaN, no floats: numbers that are not integers travel as decimal strings.
"""

import hashlib
import json
from collections.abc import Mapping

from pydantic import Field
from pydantic.types import JsonValue

from relora_contract.model import Model
from relora_contract.scalars import Digest


def canonical_json(value: JsonValue) -> bytes:
    """Encode `value` so that equal values have equal bytes.

    Raises:
        TypeError: `value` holds a float. Its text would depend on the writer.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_floats(value: JsonValue) -> None:
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float; canonical JSON carries decimal strings")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        if isinstance(part, dict | list | float):
            _refuse_floats(part)


def sha256_digest(data: bytes) -> str:
    """Return `sha256:<hex>` of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def json_digest(value: JsonValue) -> str:
    """Return the digest of the canonical JSON of `value`."""
    return sha256_digest(canonical_json(value))


def model_digest(model: Model) -> str:
    """Return the digest of the canonical JSON of a model."""
    return json_digest(model.to_json())


class FileEntry(Model):
    """Size in bytes and digest of one file."""

    size: int = Field(ge=0)
    digest: Digest


def folder_digest(files: Mapping[str, FileEntry]) -> str:
    """Return the digest of a folder of weights or of an adapter.

    It is the digest of `{"files": {<path>: {"digest": "sha256:…", "size": <bytes>}}}` as canonical JSON, with one
    entry for every regular file below the folder, paths relative and separated by `/`. It does not depend on where
    the folder lies, on modification times or on the order of listing, and covers every byte and every name.
    """
    return json_digest({"files": {path: entry.to_json() for path, entry in files.items()}})


def hex_part(digest: str) -> str:
    """Return the 64 hexadecimal digits of a digest."""
    return digest.removeprefix("sha256:")

"""Check a safetensors file by its header alone: no tensor is read, nothing is trusted before it is checked.

The format: 8 bytes with the header's length (little-endian), the header as JSON
`{name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {…}}`, then the tensors' bytes. Our limits are
tighter than the format's, so that a file from a stranger can cost neither memory nor time.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from relora_store.errors import IntegrityError
from relora_store.localfiles import translated

LENGTH_BYTES = 8
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
ITEM_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,511}")


@dataclass(frozen=True)
class TensorInfo:
    """Type, shape and place of one tensor; `begin` and `end` are bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_header(path: Path, limit: int) -> Header:
    """Return the header of a safetensors file after all checks.

    Args:
        path: A local file.
        limit: Longest header that is read, in bytes.

    Raises:
        IntegrityError: The file is no safetensors file or is cut short, the header is longer than `limit`, malformed,
            or names a tensor twice, or the tensors do not fill the file without gap and overlap.
    """
    with translated(path), path.open("rb") as file:
        size = path.stat().st_size
        prefix = file.read(LENGTH_BYTES)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise IntegrityError(f"{path.name} is cut short or not a safetensors file")
        if length > limit:
            raise IntegrityError(f"{path.name}: the header has {length} bytes, at most {limit} are read")
        raw = file.read(length)
    return parse_header(raw, size, path.name)


def parse_header(raw: bytes, size: int, label: str) -> Header:
    """Return what a header describes.

    Args:
        raw: The header's JSON.
        size: The file's size in bytes.
        label: The file's name in messages.

    Raises:
        IntegrityError: See `read_header`.
    """
    try:
        header = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{label}: the header is not a JSON object with unique names") from error
    if not isinstance(header, dict):
        raise IntegrityError(f"{label}: the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise IntegrityError(f"{label}: the metadata is not a map of strings")
    if len(header) > MOST_TENSORS:
        raise IntegrityError(f"{label} has {len(header)} tensors, at most {MOST_TENSORS} are read")
    start = LENGTH_BYTES + len(raw)
    tensors = {name: _tensor(name, value, start, label) for name, value in header.items()}
    edges = sorted((info.begin, info.end) for info in tensors.values())
    filled = [(start, start), *edges, (size, size)]
    if any(end != begin for (_, end), (begin, _) in pairwise(filled)):
        raise IntegrityError(
            f"{label}: the tensors overlap, leave gaps, or end elsewhere than the file of {size} bytes"
        )
    return Header(tensors, metadata)


def _tensor(name: str, value: object, start: int, label: str) -> TensorInfo:
    shown = ascii(name[:80])
    if not _NAME.fullmatch(name):
        raise IntegrityError(f"{label}: {shown} is not a tensor's name")
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise IntegrityError(f"{label}: the entry of tensor {shown} is malformed")
    if dtype not in ITEM_BITS:
        raise IntegrityError(f"{label}: tensor {shown} has type {dtype[:20]!a}; allowed are {', '.join(ITEM_BITS)}")
    # JSON's true is an int to Python, and a huge integer costs time to multiply.
    numbers = [*shape, begin, end]
    if len(shape) > MOST_DIMENSIONS or not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise IntegrityError(f"{label}: tensor {shown} has a malformed shape or place")
    if (end - begin) * 8 != math.prod(shape) * ITEM_BITS[dtype]:
        raise IntegrityError(f"{label}: the bytes of tensor {shown} do not match its shape")
    return TensorInfo(dtype, tuple(shape), start + begin, start + end)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found

"""Read safetensors files within limits of our own: nothing is trusted before it is checked, nothing is mapped.

The library maps a whole file; we read one tensor at a time into its own buffer, so that memory stays bounded by the
largest tensor and a header cannot make us allocate more than it may.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from relora_trainer.errors import IntegrityError

MAX_NAME_LENGTH = 512
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit; a caller that knows better passes less."""
LENGTH_BYTES = 8
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "U8": torch.uint8,
}


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies in its file."""

    path: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    size: int

    def read(self) -> Tensor:
        """Return the tensor on the CPU, in its stored precision.

        Raises:
            IntegrityError: The file ends before the tensor does.
        """
        if self.size == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        buffer = bytearray(self.size)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            if file.readinto(buffer) != self.size:
                raise IntegrityError(f"{self.path.name}: the file ends inside tensor {self.name!r}")
        return torch.frombuffer(buffer, dtype=self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class TensorFile:
    """The checked header of one safetensors file."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def open_tensors(path: Path, *, max_header_bytes: int = MAX_HEADER_BYTES) -> TensorFile:
    """Read and check the header of a safetensors file.

    Raises:
        IntegrityError: The file is not safetensors, its header is larger than allowed, a name or a type is outside
            the allowed set, or the tensors do not exactly fill the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(LENGTH_BYTES)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise IntegrityError(f"{path.name} is truncated or not a safetensors file")
        if length > max_header_bytes:
            raise IntegrityError(f"{path.name}: the header has {length} bytes, at most {max_header_bytes} are read")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path.name}: the header is not JSON") from error
    if not isinstance(header, dict):
        raise IntegrityError(f"{path.name}: the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise IntegrityError(f"{path.name}: the metadata is not a map of strings")
    start = LENGTH_BYTES + length
    tensors = {name: _entry(path, name, value, start) for name, value in header.items()}
    end = start
    for entry in sorted(tensors.values(), key=lambda entry: (entry.offset, entry.size)):
        if entry.offset != end:
            raise IntegrityError(f"{path.name}: tensor {entry.name!r} leaves a gap or overlaps another")
        end += entry.size
    if end != size:
        raise IntegrityError(f"{path.name}: the tensors end at byte {end}, the file at {size}")
    return TensorFile(tensors, metadata)


def _entry(path: Path, name: str, value: object, start: int) -> TensorEntry:
    if len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name):
        raise IntegrityError(f"{path.name}: {name[:80]!r} is not a tensor name")
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise IntegrityError(f"{path.name}: the entry of tensor {name!r} is malformed")
    if dtype not in DTYPES:
        raise IntegrityError(f"{path.name}: tensor {name!r} has type {dtype!r}, allowed are {', '.join(DTYPES)}")
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise IntegrityError(f"{path.name}: tensor {name!r} has a malformed shape")
    if begin < 0 or end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise IntegrityError(f"{path.name}: the size of tensor {name!r} does not match its shape")
    return TensorEntry(path, name, DTYPES[dtype], tuple(shape), start + begin, end - begin)


def open_model(folder: Path) -> dict[str, TensorEntry]:
    """Return every tensor of a model folder: `model.safetensors`, or the shards of its index.

    Raises:
        IntegrityError: No safetensors weights, a damaged shard, a tensor in two shards, or one that the index
            promises and no shard holds.
    """
    tensors: dict[str, TensorEntry] = {}
    for path in _shards(folder):
        if not path.is_file():
            raise IntegrityError(f"shard {path.name} of the index is missing")
        for name, entry in open_tensors(path).tensors.items():
            if name in tensors:
                raise IntegrityError(f"tensor {name!r} is both in {tensors[name].path.name} and in {path.name}")
            tensors[name] = entry
    return tensors


def _shards(folder: Path) -> Iterator[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        single = folder / "model.safetensors"
        if not single.is_file():
            raise IntegrityError("the folder holds neither model.safetensors nor its index; only safetensors is read")
        yield single
        return
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise IntegrityError(f"{index.name} has no weight_map") from error
    for name in sorted(names):
        if not isinstance(name, str) or not NAME.fullmatch(name) or not name.endswith(".safetensors"):
            raise IntegrityError(f"{index.name} names a file that is not a plain safetensors file name")
        yield folder / name

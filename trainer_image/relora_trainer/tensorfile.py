"""Read the tensors of safetensors files whose headers the store's checks accept; nothing is mapped.

The library maps a whole file; we read one tensor at a time into its own buffer, so that memory stays bounded by the
largest tensor and a header cannot make us allocate more than it may.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import torch
from torch import Tensor

from relora_store.names import Content
from relora_store.safetensors_header import read_header
from relora_trainer.errors import IntegrityError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
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
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return self._next(file, self.size).reshape(self.shape)

    def blocks(self, elements: int) -> Iterator[Tensor]:
        """Yield the tensor some rows at a time, as `read` would return them.

        Args:
            elements: The most that a block holds, but for one row, which is always whole.

        Raises:
            IntegrityError: The file ends before the tensor does.
        """
        count, *row = self.shape
        height = max(1, elements // math.prod(row))
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for start in range(0, count, height):
                rows = min(height, count - start)
                yield self._next(file, rows * math.prod(row) * self.dtype.itemsize).reshape(rows, *row)

    def _next(self, file: BufferedReader, size: int) -> Tensor:
        buffer = torch.empty(size, dtype=torch.uint8)
        if file.readinto(buffer.numpy().data) != size:
            raise IntegrityError(f"{self.path.name}: the file ends inside tensor {self.name!r}")
        return buffer.view(self.dtype)


@dataclass(frozen=True)
class TensorFile:
    """The checked header of one safetensors file."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def open_tensors(path: Path, *, max_header_bytes: int = Content.STATE.header_limit) -> TensorFile:
    """Read and check the header of a safetensors file.

    Raises:
        relora_store.errors.IntegrityError: The header is malformed or longer than allowed.
        IntegrityError: A tensor has a type that is not computed with.
    """
    header = read_header(path, max_header_bytes)
    tensors = {}
    for name, info in header.tensors.items():
        if info.dtype not in DTYPES:
            raise IntegrityError(f"{path.name}: tensor {name!r} has type {info.dtype}, allowed are {', '.join(DTYPES)}")
        tensors[name] = TensorEntry(path, name, DTYPES[info.dtype], info.shape, info.begin, info.end - info.begin)
    return TensorFile(tensors, header.metadata)


def open_model(folder: Path) -> dict[str, TensorEntry]:
    """Return every tensor of a model folder: `model.safetensors`, or the shards of its index.

    Raises:
        IntegrityError: No safetensors weights, or both forms of them; a damaged shard, a tensor in two shards, or one
            that the index promises and no shard holds.
    """
    tensors: dict[str, TensorEntry] = {}
    index = folder / INDEX
    promised = _weight_map(index) if index.is_file() else {}
    for path in _shards(folder, promised):
        if not path.is_file():
            raise IntegrityError(f"shard {path.name} of the index is missing")
        for name, entry in open_tensors(path).tensors.items():
            if name in tensors:
                raise IntegrityError(f"tensor {name!r} is both in {tensors[name].path.name} and in {path.name}")
            tensors[name] = entry
    if lacking := sorted(promised.keys() - tensors.keys()):
        raise IntegrityError(f"{INDEX} names tensor {lacking[0]!r}, which no shard holds ({len(lacking)} in all)")
    return tensors


def _shards(folder: Path, promised: Mapping[str, str]) -> Iterator[Path]:
    single = folder / SINGLE
    names = set(promised.values())
    if single.is_file() and names - {SINGLE}:
        raise IntegrityError(
            f"the folder holds both {SINGLE} and an index of other shards, of which a reader takes one or the other: "
            "remove what is old, and take the digest anew"
        )
    if not promised and not single.is_file():
        raise IntegrityError(f"the folder holds neither {SINGLE} nor its index; only safetensors is read")
    yield from (folder / name for name in sorted(names or {SINGLE}))


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = dict(json.loads(index.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{index.name} has no weight_map") from error
    for name in found.values():
        if not isinstance(name, str) or not SHARD.fullmatch(name) or not name.endswith(".safetensors"):
            raise IntegrityError(f"{index.name} names a file that is not a plain safetensors file name")
    return found

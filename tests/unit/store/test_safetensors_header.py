"""Damaged and hostile safetensors files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from relora_store.errors import IntegrityError
from relora_store.safetensors_header import TensorInfo, parse_header, read_header
from samples.artifacts import framed, safetensors

LIMIT = 1024 * 1024


def read(tmp_path: Path, data: bytes, limit: int = LIMIT) -> dict[str, TensorInfo]:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    return read_header(path, limit).tensors


def entry(shape: object, begin: object, end: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def header(tensors: object, body: int) -> bytes:
    return framed(json.dumps(tensors).encode(), b"\0" * body)


def test_a_good_file_tells_its_tensors(tmp_path: Path) -> None:
    data = safetensors({"a": (2, 3), "b": (), "c": (0, 4), "d": (5,)})
    start = len(data) - 4 * (6 + 1 + 5)
    assert read(tmp_path, data) == {
        "a": TensorInfo("F32", (2, 3), start, start + 24),
        "b": TensorInfo("F32", (), start + 24, start + 28),
        "c": TensorInfo("F32", (0, 4), start + 28, start + 28),
        "d": TensorInfo("F32", (5,), start + 28, start + 48),
    }


def test_the_order_in_the_header_is_free(tmp_path: Path) -> None:
    assert len(read(tmp_path, header({"b": entry([1], 4, 8), "a": entry([1], 0, 4)}, 8))) == 2


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 20, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(IntegrityError):
        read(tmp_path, safetensors({"a": (2, 3)})[:cut])


def test_bytes_after_the_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="end elsewhere"):
        read(tmp_path, safetensors({"a": (2, 3)}) + b"\0")


def test_a_header_of_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((2**30).to_bytes(8, "little"))
        file.truncate(2**30 + 8)
    with pytest.raises(IntegrityError, match="1073741824 bytes, at most 1048576"):
        read_header(path, LIMIT)


def test_a_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cut short"):
        read(tmp_path, b"\xff" * 8 + b"{}")


@pytest.mark.parametrize(
    ("tensors", "body"),
    [
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12),  # overlap
        ({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, 4),  # the same bytes twice
        ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12),  # hole
        ({"a": entry([1], 4, 8)}, 8),  # hole at the start
        ({"a": entry([1], 0, 4)}, 8),  # rest at the end
        ({"a": entry([3], 0, 8)}, 8),  # shape larger than its bytes
        ({"a": entry([1], 4, 0)}, 4),  # backwards
        ({"a": entry([-1, -2], 0, 8)}, 8),  # negative shape with a right product
        ({"a": entry([True], 0, 4)}, 4),  # a boolean is no length
        ({"a": entry([2.0], 0, 8)}, 8),
        ({"a": entry(["2"], 0, 8)}, 8),
        ({"a": entry([2**63, 0], 0, 0)}, 0),
        ({"a": entry([1] * 9, 0, 4)}, 4),  # nine dimensions
        ({"a": entry(2, 0, 8)}, 8),
        ({"a": entry([2], 0, None)}, 8),
        ({"a": entry([2], 0, 8, "F128")}, 8),
        ({"a": entry([2], 0, 8, ["F32"])}, 8),
        ({"a": [1, 2]}, 8),
        ({"../a": entry([1], 0, 4)}, 4),
        ({"": entry([1], 0, 4)}, 4),
        ({"a b": entry([1], 0, 4)}, 4),
        ({"__metadata__": {"a": 1}}, 0),
        ({"__metadata__": []}, 0),
        ([], 0),
        ("x", 0),
    ],
)
def test_malformed_headers_are_refused(tmp_path: Path, tensors: object, body: int) -> None:
    with pytest.raises(IntegrityError):
        read(tmp_path, header(tensors, body))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype":"U8","shape":[1],"data_offsets":[0,1]}, "a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"a": {"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,1]}}',
    ],
)
def test_what_is_not_plain_json_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(tmp_path, framed(raw, b"\0"))


def test_too_many_tensors_are_refused() -> None:
    raw = json.dumps({f"t{number}": entry([0], 0, 0) for number in range(20_001)}).encode()
    with pytest.raises(IntegrityError, match="20001 tensors"):
        parse_header(raw, 8 + len(raw), "x")


def test_the_library_writes_what_we_read(tmp_path: Path) -> None:
    tensors: dict[str, np.ndarray] = {
        "w": np.ones((3, 5), np.float16),
        "i": np.arange(4),
        "e": np.empty((0, 2), np.float32),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = read_header(tmp_path / "x.safetensors", LIMIT)
    assert found.metadata == {"format": "pt"}
    assert {name: (info.dtype, info.shape) for name, info in found.tensors.items()} == {
        "w": ("F16", (3, 5)),
        "i": ("I64", (4,)),
        "e": ("F32", (0, 2)),
    }

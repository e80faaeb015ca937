import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from relora_trainer.errors import IntegrityError
from relora_trainer.tensorfile import open_model, open_tensors


def write(path: Path, header: object, body: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + body)
    return path


def entry(dtype: str = "F32", shape: tuple[int, ...] = (1,), begin: int = 0, end: int = 4) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8])
def test_reads_what_the_library_wrote(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a.weight": torch.arange(12).reshape(3, 4).to(dtype), "b": torch.ones((), dtype=dtype)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"k": "v"})
    file = open_tensors(tmp_path / "x.safetensors")
    assert file.metadata == {"k": "v"}
    for name, tensor in tensors.items():
        assert torch.equal(file.tensors[name].read(), tensor)


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        (b"not json", b"", "not JSON"),
        (b"[" * 100_000, b"", "not JSON"),
        ([1], b"", "not a JSON object"),
        ({"__metadata__": {"a": 1}}, b"", "map of strings"),
        ({"../x": entry()}, bytes(4), "not a tensor name"),
        ({"x": {"dtype": "F32"}}, bytes(4), "malformed"),
        ({"x": entry(dtype="Q4")}, bytes(4), "type 'Q4'"),
        ({"x": entry(shape=(-1, -1))}, bytes(4), "malformed shape"),
        ({"x": entry(shape=(3,))}, bytes(4), "does not match its shape"),
        ({"x": entry(), "y": entry()}, bytes(4), "gap or overlaps"),
        ({"x": entry()}, bytes(8), "the file at"),
        ({"x": entry()}, bytes(2), "the file at"),
    ],
)
def test_refuses_a_malformed_file(tmp_path: Path, header: object, body: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        open_tensors(write(tmp_path / "x.safetensors", header, body))


def test_refuses_a_header_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((10**9).to_bytes(8, "little") + b"{}")
    with pytest.raises(IntegrityError, match="truncated"):
        open_tensors(path)


def test_refuses_a_header_above_the_callers_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"__metadata__": {"a": "b" * 2000}})
    with pytest.raises(IntegrityError, match="at most 1000"):
        open_tensors(path, max_header_bytes=1000)


def test_a_file_cut_after_its_header_was_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(100)}, path)
    opened = open_tensors(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(IntegrityError, match="ends inside tensor 'x'"):
        opened.tensors["x"].read()


def test_reads_shards_through_their_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(open_model(tmp_path)) == {"a", "b"}
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"model-2\.safetensors of the index is missing"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "model.bin", "/etc/x.safetensors", 7])
def test_an_index_names_plain_safetensors_files_only(tmp_path: Path, name: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(IntegrityError, match="not a plain safetensors"):
        open_model(tmp_path)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(IntegrityError, match="only safetensors"):
        open_model(tmp_path)

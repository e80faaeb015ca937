import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from relora_store.errors import IntegrityError as StoreIntegrityError
from relora_trainer.errors import IntegrityError
from relora_trainer.tensorfile import open_model, open_tensors


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int32, torch.bool]
)
def test_reads_what_the_library_wrote(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a.weight": torch.arange(12).reshape(3, 4).to(dtype), "b": torch.ones((), dtype=dtype)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"k": "v"})
    file = open_tensors(tmp_path / "x.safetensors")
    assert file.metadata == {"k": "v"}
    for name, tensor in tensors.items():
        assert torch.equal(file.tensors[name].read(), tensor)


def test_a_type_that_is_not_computed_with_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    with pytest.raises(IntegrityError, match=r"'x' has type F8_E4M3, allowed are F64"):
        open_tensors(tmp_path / "x.safetensors")


def test_the_stores_checks_come_first(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(StoreIntegrityError, match="at most 10"):
        open_tensors(path, max_header_bytes=10)
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(StoreIntegrityError, match="end elsewhere"):
        open_tensors(path)


def test_a_file_cut_after_its_header_was_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(100)}, path)
    opened = open_tensors(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(IntegrityError, match="ends inside tensor 'x'"):
        opened.tensors["x"].read()
    with pytest.raises(IntegrityError, match="ends inside tensor 'x'"):
        list(opened.tensors["x"].blocks(30))


@pytest.mark.parametrize(("elements", "heights"), [(1, [1] * 5), (12, [3, 2]), (100, [5])])
def test_blocks_are_the_tensors_rows(tmp_path: Path, elements: int, heights: list[int]) -> None:
    tensor = torch.arange(20).reshape(5, 4).to(torch.bfloat16)
    save_file({"before": torch.ones(3), "x": tensor}, tmp_path / "x.safetensors")
    blocks = list(open_tensors(tmp_path / "x.safetensors").tensors["x"].blocks(elements))
    assert [len(block) for block in blocks] == heights
    assert torch.equal(torch.cat(blocks), tensor)


def test_reads_shards_through_their_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(open_model(tmp_path)) == {"a", "b"}
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"model-2\.safetensors of the index is missing"):
        open_model(tmp_path)


def test_an_index_may_name_the_single_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    index = {"weight_map": {"a": "model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(open_model(tmp_path)) == {"a"}


def test_two_forms_of_the_weights_are_refused_since_readers_differ_in_which_they_take(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match=r"both model\.safetensors and an index of other shards"):
        open_model(tmp_path)


def test_a_tensor_that_the_index_promises_is_in_a_shard(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match="names tensor 'b', which no shard holds"):
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

"""Makes bad artifacts of good ones, on their bytes."""

import json
import pickle
import struct
from typing import Any

import numpy as np
from safetensors.numpy import load, save

Files = dict[str, bytes]

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER = "tokenizer.json"
_NAN = {"F32": struct.pack("<I", 0x7FC00000), "BF16": struct.pack("<H", 0x7FC0), "F16": struct.pack("<H", 0x7E00)}


def with_nan(files: Files) -> Files:
    """Return a folder of which the last weight of the largest matrix in a layer is not a number."""
    name = max((each for each in files if each.endswith(".safetensors")), key=lambda each: len(files[each]))
    content = bytearray(files[name])
    header_length = struct.unpack("<Q", content[:8])[0]
    header: dict[str, Any] = json.loads(content[8 : 8 + header_length])
    tensors = [each for key, each in header.items() if ".layers." in key and len(each["shape"]) > 1]
    largest = max(tensors, key=lambda each: int(each["data_offsets"][1]) - int(each["data_offsets"][0]))
    number = _NAN[largest["dtype"]]
    end = 8 + header_length + int(largest["data_offsets"][1])
    content[end - len(number) : end] = number
    return {**files, name: bytes(content)}


def truncated(files: Files) -> Files:
    """Return an adapter whose weights end too early."""
    return {**files, ADAPTER: files[ADAPTER][:-64]}


def with_huge_header(files: Files) -> Files:
    """Return an adapter whose weights announce a header of a gigabyte."""
    return {**files, ADAPTER: struct.pack("<Q", 1 << 30) + files[ADAPTER][8:]}


def with_pickle(files: Files) -> Files:
    """Return an adapter with a pickle beside its weights."""
    return {**files, "training_args.bin": pickle.dumps({"learning_rate": 1e-3})}


def with_code(files: Files) -> Files:
    """Return an adapter that brings code."""
    return {**files, "modeling.py": b"raise SystemExit('loaded')\n"}


def of_other_tokenizer(files: Files) -> Files:
    """Return a base whose tokenizer has two ordinary tokens in each other's place."""
    tokenizer = json.loads(files[TOKENIZER])
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    return {**files, TOKENIZER: json.dumps(tokenizer).encode()}


def of_other_shapes(files: Files) -> Files:
    """Return an adapter for a model of another width: every A has twice the columns."""
    return _changed(files, lambda a: np.concatenate([a, a], axis=1), lambda b: b, {})


def of_rank(files: Files, rank: int) -> Files:
    """Return an adapter of a higher rank that does the same: the further rows and columns are zero."""

    def taller(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.pad(a, ((0, rank - a.shape[0]), (0, 0)))

    def wider(b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.pad(b, ((0, 0), (0, rank - b.shape[1])))

    return _changed(files, taller, wider, {"r": rank, "lora_alpha": rank})


def _changed(files: Files, change_a: Any, change_b: Any, config: dict[str, object]) -> Files:  # noqa: ANN401 - numpy's functions have no short type
    tensors = load(files[ADAPTER])
    changed = {name: (change_a if "lora_A" in name else change_b)(tensor) for name, tensor in tensors.items()}
    described = {**json.loads(files[ADAPTER_CONFIG]), **config}
    return {**files, ADAPTER: save(changed), ADAPTER_CONFIG: json.dumps(described).encode()}

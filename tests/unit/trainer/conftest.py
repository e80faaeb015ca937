"""A tiny base and its tokenizer, an adapter that PEFT saved, and everything that a re-adaptation reads."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from samples.laptop_runs import Laptop
from samples.peft_adapters import saved_by_peft
from samples.tinymodels import character_tokenizer, tiny_base

torch.set_num_threads(1)  # the matrices are small, and other tests share the cores


@pytest.fixture
def make_base() -> Callable[..., LlamaForCausalLM]:
    return tiny_base


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return character_tokenizer()


@pytest.fixture
def saved_adapter(tmp_path: Path, make_base: Callable[..., LlamaForCausalLM]) -> Path:
    saved_by_peft(tmp_path / "adapter", make_base())
    return tmp_path / "adapter"


@pytest.fixture
def laptop(tmp_path: Path, make_base: Callable[..., LlamaForCausalLM], tokenizer: PreTrainedTokenizerFast) -> Laptop:
    return Laptop(tmp_path, make_base(), tokenizer)

"""A release is the same kind of file whatever the precision in which a machine computes fastest."""

from io import StringIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from realdata import evolve, lora
from realdata.products import ADAPTER_AUTHOR, BASE_R2, TINY_R2
from realdata.progress import Stage

SETTINGS = evolve.Pretraining(
    steps=2, blocks_per_step=2, block_tokens=8, learning_rate=1e-3, warmup_steps=1, target_share=0.5, seed=0
)


class Letters:
    eos_token_id = 0

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 32 for letter in text]}


@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
def test_a_release_is_stored_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: torch.dtype
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model: torch.nn.Module = LlamaForCausalLM(config)
    model.to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(evolve, "load_base", lambda folder: (model.to(computed), Letters()))
    base, output = tmp_path / "base", tmp_path / "output"
    base.mkdir()
    output.mkdir()
    stage = Stage("release", StringIO(), interval_seconds=60.0, started=0.0, last_said=0.0)
    evolve.evolve(base, ["the next release of a base"] * 4, SETTINGS, output, stage)
    stored = load_file(output / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert not torch.equal(stored["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"])
    computed_with = model.state_dict()
    assert all(torch.equal(tensor.to(computed), computed_with[name]) for name, tensor in stored.items())


def test_a_release_that_was_computed_in_float32_is_not_taken_for_one_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = set()
    for precision in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(lora, "cpu_precision", lambda precision=precision: precision)
        keys |= {BASE_R2.folder_name, ADAPTER_AUTHOR.folder_name, TINY_R2.folder_name}
    assert len(keys) == 6
    assert "smollm2-r2-e00c433d4612" in keys, "the releases of the kept bench were computed in bfloat16"

"""Adapters read and written again: they compute the same, in one form and in the precision that was stored."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from relora_trainer.adapter import Adapter, read_adapter, write_adapter
from relora_trainer.errors import NonFiniteError
from relora_trainer.factors import Factors
from relora_trainer.lora import LoraModel
from samples.peft_adapters import edit_tensors, linears, saved_by_peft

MakeBase = Callable[..., LlamaForCausalLM]
INPUT = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
Q0 = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"down_proj": 2, "layers.0.self_attn.q_proj": 6}},
        {"alpha_pattern": {"down_proj": 3}},
        {"target_modules": "all-linear"},
        {"target_modules": r".*layers\.1\..*(up|gate)_proj"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"bias": "all"},  # Llama has none
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "rank_pattern": {"down_proj": 2}},
    ],
)
def test_read_and_written_again_it_computes_the_same_as_peft(
    tmp_path: Path, make_base: MakeBase, config: dict[str, object]
) -> None:
    theirs = saved_by_peft(tmp_path / "adapter", make_base(), **config)
    model = make_base()
    adapter = read_adapter(tmp_path / "adapter", linears(model))
    with torch.no_grad():
        want = theirs(input_ids=INPUT).logits

    lora = LoraModel(
        model, {name: pair.rank for name, pair in adapter.factors.items()}, use_dora=adapter.settings.use_dora
    )
    lora.set_factors(adapter.factors)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=INPUT).logits, want, atol=1e-4, rtol=1e-4)

    out = tmp_path / "canonical"
    write_adapter(out, adapter.factors, source=adapter.settings, dtype=adapter.dtype, base_model="base-r2")
    again = PeftModel.from_pretrained(make_base(), out).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=INPUT).logits, want, atol=1e-4, rtol=1e-4)
    written = json.loads((out / "adapter_config.json").read_text())
    assert written["lora_alpha"] == written["r"] == adapter.rank
    assert not written["use_rslora"]
    assert written["use_dora"] is config.get("use_dora", False)
    assert written.keys().isdisjoint({"rank_pattern", "alpha_pattern"})
    assert {
        tensor.shape[0] for name, tensor in load_file(out / "adapter_model.safetensors").items() if "lora_A" in name
    } == {adapter.rank}
    reread = read_adapter(out, linears(make_base()))
    assert all(torch.allclose(reread.factors[n].dense(), f.dense(), atol=1e-5) for n, f in adapter.factors.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_stored_precision_is_kept(
    saved_adapter: Path, make_base: MakeBase, tmp_path: Path, dtype: torch.dtype
) -> None:
    edit_tensors(
        saved_adapter, lambda tensors: tensors.update({name: value.to(dtype) for name, value in tensors.items()})
    )
    adapter: Adapter = read_adapter(saved_adapter, linears(make_base()))
    assert adapter.dtype is dtype
    assert adapter.factors[Q0].a.dtype is torch.float32
    write_adapter(tmp_path / "out", adapter.factors, source=adapter.settings, dtype=dtype, base_model="b")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "adapter_model.safetensors").values()} == {dtype}


def test_the_magnitudes_of_dora_are_read_in_any_precision_and_never_rounded(
    make_base: MakeBase, tmp_path: Path
) -> None:
    saved_by_peft(tmp_path / "adapter", make_base(), use_dora=True)
    edit_tensors(
        tmp_path / "adapter",
        lambda tensors: tensors.update(
            {name: value.bfloat16() for name, value in tensors.items() if "magnitude" not in name}
        ),
    )
    adapter = read_adapter(tmp_path / "adapter", linears(make_base()))
    assert adapter.dtype is torch.bfloat16
    factors = {name: pair.to(adapter.dtype) for name, pair in adapter.factors.items()}
    write_adapter(tmp_path / "out", factors, source=adapter.settings, dtype=adapter.dtype, base_model="b")
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    magnitude = f"base_model.model.{Q0}.lora_magnitude_vector"
    assert torch.equal(written[magnitude], load_file(tmp_path / "adapter" / "adapter_model.safetensors")[magnitude])
    assert {value.dtype for name, value in written.items() if "magnitude" not in name} == {torch.bfloat16}


def test_factors_that_overflow_the_stored_precision_are_not_written(
    saved_adapter: Path, make_base: MakeBase, tmp_path: Path
) -> None:
    settings = read_adapter(saved_adapter, linears(make_base())).settings
    huge = {Q0: Factors(torch.full((2, 32), 1e6), torch.ones(32, 2))}
    with pytest.raises(NonFiniteError, match="float16"):
        write_adapter(tmp_path / "out", huge, source=settings, dtype=torch.float16, base_model="b")


def test_the_same_factors_give_the_same_bytes(saved_adapter: Path, make_base: MakeBase, tmp_path: Path) -> None:
    adapter = read_adapter(saved_adapter, linears(make_base()))
    for out in ("one", "two"):
        write_adapter(tmp_path / out, adapter.factors, source=adapter.settings, dtype=adapter.dtype, base_model="b")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import OPTConfig, OPTForCausalLM

from relora_trainer.adapter import read_adapter
from relora_trainer.errors import IncompatibleError

INPUT = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
TINY_OPT: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "ffn_dim": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "word_embed_proj_dim": 16,
    "max_position_embeddings": 32,
    "init_std": 0.3,
}


@pytest.mark.parametrize(("bias", "first"), [("lora_only", "q_proj.base_layer.bias"), ("all", "final_layer_norm.bias")])
def test_trained_biases_are_refused_because_peft_loads_them_into_the_base(
    tmp_path: Path, bias: Literal["lora_only", "all"], first: str
) -> None:
    def tiny() -> OPTForCausalLM:
        torch.manual_seed(0)
        return OPTForCausalLM(OPTConfig(**TINY_OPT))

    model = get_peft_model(tiny(), LoraConfig(r=2, target_modules=["q_proj"], bias=bias, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") and parameter.requires_grad:
                parameter.add_(1.0)
    model.save_pretrained(tmp_path)
    linear = {
        name: (module.out_features, module.in_features)
        for name, module in tiny().named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }
    with pytest.raises(IncompatibleError, match=rf"{first}: .*into the base itself.*bias 'none'"):
        read_adapter(tmp_path, linear)

    # The reason: once it is loaded, the bare base is another.
    base = tiny().eval()
    with torch.no_grad():
        before = base(input_ids=INPUT).logits
        loaded = PeftModel.from_pretrained(base, tmp_path).eval()
        with pytest.warns(UserWarning, match="not produce the same output as the base"), loaded.disable_adapter():
            assert not torch.allclose(loaded(input_ids=INPUT).logits, before, atol=1e-2)

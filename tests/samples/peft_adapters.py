"""Adapters as PEFT saves them, and edits of their tensors."""

from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedModel


def linears(model: LlamaForCausalLM) -> dict[str, tuple[int, int]]:
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }


def saved_by_peft(folder: Path, model: PreTrainedModel, **config: object) -> LlamaForCausalLM:
    """Save an adapter with random factors; return the model that carries it."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **config}
    peft_model = get_peft_model(model, LoraConfig(**settings))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(0.9 + 0.2 * torch.rand_like(parameter))
            elif "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    peft_model.save_pretrained(folder, save_embedding_layers=False)
    peft_model.eval()
    carrier: LlamaForCausalLM = peft_model
    return carrier


def edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)

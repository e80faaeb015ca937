"""Models of random weights, small enough that a step of a Job takes as long as its imports.

Run as a program with a folder to write to: torch is then not imported by the tests.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

RANK = 4
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_CHARACTERS = " abcdefghijklmnopqrstuvwxyz:.\n"
_DRIFT = 0.02


def write_family(root: Path) -> None:
    """Write a base, two releases after it, and an adapter for it: `r1`, `r2`, `r2-again`, `adapter`."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    base = LlamaForCausalLM(config)
    for name in ("r1", "r2", "r2-again"):
        base.save_pretrained(root / name)
        _tokenizer().save_pretrained(root / name)
        with torch.no_grad():
            for weight in base.parameters():
                weight.add_(torch.randn_like(weight), alpha=_DRIFT * float(weight.std()))
    _write_adapter(LlamaForCausalLM.from_pretrained(root / "r1"), root / "adapter")


def _write_adapter(base: LlamaForCausalLM, folder: Path) -> None:
    adapted = get_peft_model(
        base,
        LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.1)
    adapted.peft_config["default"].base_model_name_or_path = ""
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink()


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, so that no vocabulary has to be learnt or downloaded."""
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL.values(), *_CHARACTERS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, **_SPECIAL)


if __name__ == "__main__":
    write_family(Path(sys.argv[1]))

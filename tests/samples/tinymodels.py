"""A tiny base of random weights and a tokenizer that needs no download."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

VOCABULARY = 64
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def tiny_base(seed: int = 0, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """Return a base of two decoder blocks."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(_config())
    torch.nn.Module.to(model, dtype)
    model.eval()
    return model


def tiny_classifier(classes: int, dtype: torch.dtype = torch.float32) -> LlamaForSequenceClassification:
    """Return a classifier of the form of the tiny base, with a random head."""
    torch.manual_seed(0)
    config = _config()
    config.num_labels = classes
    model = LlamaForSequenceClassification(config)
    torch.nn.Module.to(model, dtype)
    model.eval()
    return model


def _config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
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


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character (spaces included), `</s>` at the end, `<s>` at the start when special tokens are on."""
    characters = [*SPECIAL.values(), *" abcdefghijklmnopqrstuvwxyz:.\nABCDEFGHIJ"]
    vocabulary = {character: index for index, character in enumerate(characters)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL)
    assert fast("ab", add_special_tokens=False)["input_ids"] == [5, 6]
    return fast

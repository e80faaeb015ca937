"""Small artifacts, written without torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from relora_contract.artifacts import Fingerprint, Provenance, TokenLogprob

D1 = "sha256:" + "1" * 64
D2 = "sha256:" + "2" * 64
D3 = "sha256:" + "3" * 64


def safetensors(tensors: Mapping[str, tuple[int, ...]], *, fill: bytes = b"\0") -> bytes:
    """Return a safetensors file of float32 tensors of the given shapes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    return framed(json.dumps(header).encode(), fill * offset)


def framed(header: bytes, body: bytes = b"") -> bytes:
    """Return a file of the safetensors framing with any header."""
    return len(header).to_bytes(8, "little") + header + body


def adapter_config(rank: int = 4, **changed: object) -> bytes:
    """Return a PEFT configuration."""
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}
    return json.dumps({**config, "base_model_name_or_path": "somewhere", **changed}).encode()


def write_adapter(folder: Path, *, rank: int = 4, fill: bytes = b"\0") -> Path:
    """Write a folder that has the form of a PEFT adapter, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_bytes(adapter_config(rank))
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = safetensors({f"{prefix}.lora_A.weight": (rank, 8), f"{prefix}.lora_B.weight": (8, rank)}, fill=fill)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def write_base(folder: Path, *, fill: bytes = b"\0", nested: bool = False) -> Path:
    """Write a folder that has the form of a base model, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(safetensors({"model.embed_tokens.weight": (16, 8)}, fill=fill))
    if nested:
        (folder / "templates").mkdir()
        (folder / "templates" / "chat.jinja").write_text("{{ messages }}")
    return folder


def provenance(target_base_digest: str = D2) -> Provenance:
    """Return a provenance."""
    return Provenance(
        request_digest=D3,
        step="port",
        source_base_digest=D1,
        target_base_digest=target_base_digest,
        code_version="0.1.0",
        seed=0,
    )


def fingerprint(prompt: list[int], base: Mapping[int, str], adapter: Mapping[int, str]) -> Fingerprint:
    """Return a fingerprint from log-probabilities by token id."""
    return Fingerprint(
        prompt=prompt,
        base=[TokenLogprob(token=token, logprob=value) for token, value in base.items()],
        adapter=[TokenLogprob(token=token, logprob=value) for token, value in adapter.items()],
    )

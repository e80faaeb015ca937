"""A new release of a base model: full-parameter continued pre-training on real text.

All parameters are trained, because an update of low rank would make the low-rank projection of the release look better
than it is for a vendor's release.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from realdata.lora import load_base
from realdata.progress import Stage

STORED = torch.bfloat16
"""Precision of a release. Where a CPU computes in float32, its weights are rounded to it, too."""


@dataclass(frozen=True)
class Pretraining:
    """Hyperparameters of a release: AdamW on fp32 master weights, linear warm-up, then a constant learning rate.

    ``target_share`` is the share of the positions whose next token is scored: the head over the vocabulary is a third
    of a small model's work.
    """

    steps: int
    blocks_per_step: int
    block_tokens: int
    learning_rate: float
    warmup_steps: int
    target_share: float
    seed: int


def evolve(base: Path, texts: Sequence[str], settings: Pretraining, output: Path, stage: Stage) -> None:
    """Continue the pre-training of ``base`` on ``texts``; write the new base, same tokenizer, to ``output``."""
    model, tokenizer = load_base(base)
    blocks = pack(tokenizer, texts, settings)
    stage.say(f"{settings.steps} steps of {settings.blocks_per_step} x {settings.block_tokens} tokens")
    _pretrain(model, blocks, settings, stage)
    copy_all_but_weights(base, output)
    weights = {
        name: tensor.to(STORED).contiguous() for name, tensor in model.state_dict().items() if not _is_tied(model, name)
    }
    save_file(weights, output / "model.safetensors", metadata={"format": "pt"})


def copy_all_but_weights(base: Path, output: Path) -> None:
    """Copy a base's configuration and tokenizer."""
    for path in base.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, output / path.name)


def _is_tied(model: PreTrainedModel, name: str) -> bool:
    return bool(model.config.tie_word_embeddings) and name == "lm_head.weight"


def pack(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], settings: Pretraining) -> torch.Tensor:
    """Return texts, each closed by the end-of-sequence token, as int64 blocks (steps, blocks per step, tokens).

    Raises:
        ValueError: the texts hold fewer tokens than the steps need.
    """
    wanted = settings.steps * settings.blocks_per_step * settings.block_tokens
    ids: list[int] = []
    for text in texts:
        ids += [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        if len(ids) >= wanted:
            shape = (settings.steps, settings.blocks_per_step, settings.block_tokens)
            return torch.tensor(ids[:wanted]).view(shape)
    raise ValueError(f"the texts hold {len(ids)} tokens, the recipe needs {wanted}")


def _pretrain(model: PreTrainedModel, blocks: torch.Tensor, settings: Pretraining, stage: Stage) -> None:
    choose = torch.Generator().manual_seed(settings.seed)
    weights = list(model.parameters())
    masters = [torch.nn.Parameter(weight.detach().float()) for weight in weights]
    optimizer = torch.optim.AdamW(masters, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    for step, ids in enumerate(blocks):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (step + 1) / settings.warmup_steps)
        loss = _sampled_loss(model, ids, settings.target_share, choose)
        loss.backward()
        for weight, master in zip(weights, masters, strict=True):
            master.grad, weight.grad = weight.grad.float() if weight.grad is not None else None, None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for weight, master in zip(weights, masters, strict=True):
                weight.copy_(master.to(STORED))
        stage.update(f"step {step + 1}/{settings.steps}, loss {loss.item():.3f}")


def _sampled_loss(model: PreTrainedModel, ids: torch.Tensor, share: float, choose: torch.Generator) -> torch.Tensor:
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    targets = ids[:, 1:].flatten()
    scored = torch.randperm(len(targets), generator=choose)[: int(share * len(targets))]
    logits = functional.linear(hidden[scored], model.get_output_embeddings().weight)
    return functional.cross_entropy(logits.float(), targets[scored])

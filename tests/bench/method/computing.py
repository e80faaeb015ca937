"""How a forward pass is computed: the attention that the trainer chooses beside the other one, and torch.compile.

Compiling needs a C++ compiler, which the trainer's image lacks.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.method.chain import Chain
from bench.method.timing import observed, ratios, seconds
from bench.results import Row, measured
from relora_trainer.placement import choose_placement

TOKENS = 2048
"""Of a batch, whatever the length of its texts."""


def rows(chain: Chain, lengths: tuple[int, ...], rounds: int) -> Iterator[Row]:
    """Yield the ratios for batches of texts of some lengths, in tokens; logits at the last position only."""
    eager, sdpa = (_load(chain, attention) for attention in ("eager", "sdpa"))
    for length in lengths:
        batch = _batch(eager, length)
        found = ratios(_pass(eager, batch), _pass(sdpa, batch), rounds=rounds)
        yield observed(f"a pass over texts of {length} tokens, attention sdpa ÷ eager", found, "×")
    compiled = torch.compile(_load(chain, "eager"), dynamic=True)
    batch = _batch(eager, lengths[0])
    yield measured("torch.compile, the first pass", seconds(_pass(compiled, batch)), "s")
    found = ratios(_pass(eager, batch), _pass(compiled, batch), rounds=rounds)
    yield observed(f"a pass over texts of {lengths[0]} tokens, torch.compile ÷ without", found, "×")


def _load(chain: Chain, attention: str) -> PreTrainedModel:
    placement = choose_placement()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        chain.new, dtype=placement.dtype, attn_implementation=attention
    )
    torch.nn.Module.to(model, placement.device)
    model.eval()
    return model


def _batch(model: PreTrainedModel, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (max(1, TOKENS // length), length)
    return torch.randint(model.config.vocab_size, shape, generator=generator).to(model.device)


def _pass(model: Callable[..., Any], batch: Tensor) -> Callable[[], Tensor]:
    mask = torch.ones_like(batch)

    @torch.no_grad()
    def run() -> Tensor:
        logits: Tensor = model(input_ids=batch, attention_mask=mask, use_cache=False, logits_to_keep=1).logits
        return logits

    return run

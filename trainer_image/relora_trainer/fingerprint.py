"""The fingerprint of an adapter: what a server answers when it has really loaded it.

Engines serve the bare base without a word when an adapter's keys do not match. The fingerprint lets a probe tell the
two apart: next-token log-probabilities after fixed prompts, with the adapter and without it. Of a classifier they are
those of its classes; without the adapter means with its head on the bare base, which has none of its own.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from relora_contract.artifacts import Fingerprint, TokenLogprob
from relora_contract.task import Task
from relora_trainer.datasets import Example
from relora_trainer.decimals import decimal_text
from relora_trainer.items import Encoder
from relora_trainer.lora import LoraModel
from relora_trainer.prompts import Prompts
from relora_trainer.scoring import collate, completion_logits

TOKENS = 20
"""Tokens of one prompt; serving engines report no more log-probabilities than that by default."""
MAX_PROMPT_TOKENS = 256
SENTENCES = (
    "The river froze early that winter, and the ferry stayed in the harbour.",
    "A library for reading and writing compressed archives.",
    "She opened the letter, read it twice, and laughed out loud.",
    "Prices rose by three percent in the last quarter.",
    "This is the worst meal I have had in years.",
    "An unexpectedly moving story about two brothers and their farm.",
)
"""Texts that take the place of an example: nobody's data."""


def fingerprints(model: PreTrainedModel, lora: LoraModel, encoder: Encoder, task: Task) -> list[Fingerprint]:
    """Return the fingerprints of the factors that `lora` holds."""
    prompts = _prompts(encoder, task)
    with_adapter = _next_token_logprobs(model, prompts)
    with lora.bare():
        without = _next_token_logprobs(model, prompts)
    found = []
    for prompt, adapter, base in zip(prompts, with_adapter, without, strict=True):
        tokens = adapter.topk(min(TOKENS, len(adapter))).indices
        found.append(
            Fingerprint(
                kind="Class" if task.is_classification else "NextToken",
                prompt=list(prompt),
                base=_chosen(base, tokens),
                adapter=_chosen(adapter, tokens),
            )
        )
    return found


def _prompts(encoder: Encoder, task: Task) -> list[tuple[int, ...]]:
    prompts = Prompts(task)
    examples = [
        Example(key="", prompt=prompts.prompt(dict.fromkeys(prompts.fields, sentence)), label=0)
        for sentence in SENTENCES
    ]
    return [encoder.whole_prompt(example)[-MAX_PROMPT_TOKENS:] for example in examples]


@torch.no_grad()
def _next_token_logprobs(model: PreTrainedModel, prompts: list[tuple[int, ...]]) -> list[Tensor]:
    """Return per prompt the log-probabilities of the next token or the classes, `(vocabulary,)` float32 on the CPU."""
    batch = collate([(prompt, (0,)) for prompt in prompts], model.device)
    return list(completion_logits(model, batch).log_softmax(-1).cpu())


def _chosen(logprobs: Tensor, tokens: Tensor) -> list[TokenLogprob]:
    return [
        TokenLogprob(token=token, logprob=decimal_text(value))
        for token, value in zip(tokens.tolist(), logprobs[tokens].tolist(), strict=True)
    ]

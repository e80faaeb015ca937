"""Answers of a generative task: decoded greedily, in batches, with a cache of keys and values.

An answer is right when the model ends it by itself and its text is the expected completion, white space around both
aside. Decoding is bounded by what a right answer can need: a longer one is wrong whatever follows.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from relora_trainer.batching import EVALUATION_TOKENS, by_length
from relora_trainer.halving import in_halves
from relora_trainer.items import Encoder, Item, ItemSet
from relora_trainer.loading import most_positions
from relora_trainer.outcomes import ANOTHER_ANSWER, Outcome
from relora_trainer.scoring import Scorer

BATCH = 32
SPARE_SHARE, SPARE_TOKENS = 2, 8
"""A right answer may be tokenised otherwise than the expected one, in more tokens."""


def generative_outcomes(
    model: PreTrainedModel,
    scorer: Scorer,
    encoder: Encoder,
    items: ItemSet,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Return per example whether the greedy answer is the expected one, and the loss of the expected one.

    Raises:
        NonFiniteError: A loss is NaN or infinite.
    """
    nll, tokens = scorer.losses(items, progress=(lambda *_: progress(0, len(items.items))) if progress else None)
    right = [False] * len(items.items)
    done = 0
    # A token that is generated takes as much memory, in the cache, as one that is read.
    for indices in by_length([len(item.prompt) + _bound(item) for item in items.items], BATCH, EVALUATION_TOKENS):
        chosen = [items.items[index] for index in indices]
        for index, item, answer in zip(indices, chosen, greedy_answers(model, chosen, encoder.end), strict=True):
            right[index] = answer is not None and encoder.text(answer) == encoder.text(item.completion)
        done += len(indices)
        if progress:
            progress(done, len(right))
    return [
        Outcome(item.key, item.label, item.label if is_right else ANOTHER_ANSWER, loss, count)
        for item, is_right, loss, count in zip(items.items, right, nll, tokens, strict=True)
    ]


@torch.no_grad()
def greedy_answers(model: PreTrainedModel, items: Sequence[Item], end: int) -> list[tuple[int, ...] | None]:
    """Return the answer to each prompt without its end token, or None where none ended within its bound.

    No answer goes beyond the model's positions: where the longest answer of the batch would, it is answered in halves.
    """
    positions = most_positions(model.config)
    width = max(len(item.prompt) for item in items)
    limit = max(_bound(item) for item in items)
    if positions is not None and width + limit > positions:
        if len(items) > 1:
            half = len(items) // 2
            return [*greedy_answers(model, items[:half], end), *greedy_answers(model, items[half:], end)]
        limit = max(1, positions - width)
    answers = in_halves(items, partial(_decode, model, width=width, limit=limit, end=end))
    return [_ended(answer[: _bound(item)], end) for item, answer in zip(items, answers, strict=True)]


def _decode(model: PreTrainedModel, items: Sequence[Item], *, width: int, limit: int, end: int) -> list[list[int]]:
    """Return at most `limit` tokens after each prompt, all of them padded to `width` on the left."""
    input_ids = torch.full((len(items), width), end, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, item in enumerate(items):
        input_ids[row, width - len(item.prompt) :] = torch.tensor(item.prompt)
        attention_mask[row, width - len(item.prompt) :] = 1
    generate = cast("Callable[..., Tensor]", model.generate)  # a mixin of the loaded class
    output = generate(
        input_ids=input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        generation_config=GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=limit, eos_token_id=end, pad_token_id=end, use_cache=True
        ),
    )
    answers: list[list[int]] = output[:, width:].tolist()
    return answers


def _bound(item: Item) -> int:
    return SPARE_SHARE * len(item.completion) + SPARE_TOKENS


def _ended(answer: list[int], end: int) -> tuple[int, ...] | None:
    return tuple(answer[: answer.index(end)]) if end in answer else None

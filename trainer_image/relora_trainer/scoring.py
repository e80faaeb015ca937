"""Log-likelihoods of completions, and the most likely of a closed set of choices.

A class is a completion of one token, out of the vocabulary of the class head: its rows.

Logits are computed at the positions that predict a completion token and nowhere else: with a vocabulary of 100,000
and short completions the output head would otherwise be most of the work.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from relora_trainer.batching import EVALUATION_TOKENS, by_length
from relora_trainer.errors import NonFiniteError
from relora_trainer.halving import in_halves
from relora_trainer.heads import head_of, pooled_logits
from relora_trainer.items import Item, ItemSet
from relora_trainer.outcomes import Outcome


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences of prompt and completion.

    Attributes:
        input_ids: `(rows, width)` int64; the last completion token is predicted, not read.
        attention_mask: `(rows, width)` int64, 1 for tokens.
        predicts: `(rows, width)` bool, where a completion token is predicted.
        targets: `(n,)` int64, the completion tokens, row by row.
        rows: `(n,)` int64, the row of each target.
    """

    input_ids: Tensor
    attention_mask: Tensor
    predicts: Tensor
    targets: Tensor
    rows: Tensor


def collate(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Batch:
    """Return the batch of (prompt, completion) pairs; padding is token 0, which the attention mask hides."""
    width = max(len(prompt) + len(completion) - 1 for prompt, completion in sequences)
    input_ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    predicts = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(sequences):
        tokens = (*prompt, *completion[:-1])
        input_ids[row, : len(tokens)] = torch.tensor(tokens)
        attention_mask[row, : len(tokens)] = 1
        predicts[row, len(prompt) - 1 : len(tokens)] = True
    targets = torch.tensor([token for _, completion in sequences for token in completion])
    rows = predicts.nonzero()[:, 0]
    return Batch(*(tensor.to(device) for tensor in (input_ids, attention_mask, predicts, targets, rows)))


def completion_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the logits that predict the completion tokens, `(n, vocabulary)` float32, or float64 of such a model.

    The hidden states are reduced before they enter the output head, so that whatever the architecture does with its
    logits (scaling, soft caps) is kept. The vocabulary of a classifier is its classes.
    """
    if head := head_of(model):
        logits = pooled_logits(model, head, batch.input_ids, batch.attention_mask, batch.predicts)
    else:
        with _only_positions(model, batch.predicts):
            output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
        logits = output.logits[0]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def _only_positions(model: PreTrainedModel, predicts: Tensor) -> Iterator[None]:
    def select(_head: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0][predicts][None], *arguments[1:])

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def completion_nll(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return −log p of every completion token, `(n,)` float32, with its gradient."""
    return functional.cross_entropy(completion_logits(model, batch), batch.targets, reduction="none")


class Scorer:
    """Scores examples with whatever factors the model holds at the moment."""

    def __init__(self, model: PreTrainedModel, *, batch_size: int) -> None:
        """Score with `model`, at most `batch_size` sequences at a time."""
        self._model = model
        self._batch_size = batch_size

    @torch.no_grad()
    def losses(
        self, items: ItemSet, count: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return per example the sum of −log p over the right completion, in nats, and its number of tokens.

        Args:
            items: The examples.
            count: Score only the first `count`.
            progress: Called after every batch with the count of examples done and of all.

        Raises:
            NonFiniteError: A loss is NaN or infinite.
        """
        chosen = items.items[:count]
        sequences = [(item.prompt, items.completion(item)) for item in chosen]
        nll = [-value for value, _ in self._log_likelihoods(sequences, (), progress)]
        _check_finite(nll, chosen)
        return tuple(nll), tuple(len(completion) for _, completion in sequences)

    @torch.no_grad()
    def outcomes(self, items: ItemSet, progress: Callable[[int, int], None] | None = None) -> list[Outcome]:
        """Return what the model does on each example; the prediction is the choice with the highest log-likelihood.

        The log-likelihood is that of the whole choice, end of sequence included, and no choice is left out that could
        be the most likely. Most examples still need one forward pass: it gives the right choice's log-likelihood and,
        from the same logits, that of every choice's beginning: what all choices share, and one token more. As no
        choice is more likely than its beginning, only those whose beginning is more likely than the best whole choice
        so far remain; they are scored best first. Choices that are no longer than that need no more.

        Raises:
            NonFiniteError: A loss is NaN or infinite.
        """
        shared = _shared(items.choices)
        next_tokens = tuple(choice[shared] for choice in items.choices)
        sequences = [(item.prompt, items.completion(item)) for item in items.items]
        scored = self._log_likelihoods(sequences, next_tokens, progress, after=shared)
        _check_finite([value for value, _ in scored], items.items)
        is_whole = [len(choice) == shared + 1 for choice in items.choices]

        def alive(*_: int) -> None:
            if progress:
                progress(len(items.items), len(items.items))

        best: list[tuple[float, int]] = []
        open_choices: dict[int, list[tuple[float, int]]] = {}
        for index, (item, (value, bounds)) in enumerate(zip(items.items, scored, strict=True)):
            others = [(bound, choice) for choice, bound in enumerate(bounds) if choice != item.label]
            best.append(max([(value, item.label), *(other for other in others if is_whole[other[1]])]))
            open_choices[index] = sorted((other for other in others if not is_whole[other[1]]), reverse=True)
        while True:
            open_choices = {
                index: remaining
                for index, remaining in open_choices.items()
                if remaining and remaining[0][0] > best[index][0]
            }
            if not open_choices:
                break
            trials = [(index, remaining[0][1]) for index, remaining in open_choices.items()]
            sequences = [(items.items[index].prompt, items.choices[choice]) for index, choice in trials]
            tried = self._log_likelihoods(sequences, (), alive)
            for (index, choice), (value, _) in zip(trials, tried, strict=True):
                best[index] = max(best[index], (value, choice))
                open_choices[index].pop(0)
        return [
            Outcome(item.key, item.label, prediction, -value, len(items.completion(item)))
            for item, (value, _), (_, prediction) in zip(items.items, scored, best, strict=True)
        ]

    def _log_likelihoods(
        self,
        sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
        next_tokens: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
        *,
        after: int = 0,
    ) -> list[tuple[float, list[float]]]:
        """Return per sequence the completion's log-likelihood, and that of its beginning with each of `next_tokens`.

        The beginning is the first `after` tokens of the completion; without any, it is the prompt that comes before.
        """
        found: list[tuple[float, list[float]]] = [(0.0, [])] * len(sequences)
        done = 0
        lengths = [len(prompt) + len(tail) for prompt, tail in sequences]
        for indices in by_length(lengths, self._batch_size, EVALUATION_TOKENS):
            scored = in_halves(
                [sequences[index] for index in indices], partial(self._pass, next_tokens=next_tokens, after=after)
            )
            for index, one in zip(indices, scored, strict=True):
                found[index] = one
            done += len(indices)
            if progress:
                progress(done, len(sequences))
        return found

    def _pass(
        self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]], next_tokens: Sequence[int], after: int
    ) -> list[tuple[float, list[float]]]:
        batch = collate(sequences, self._model.device)
        log_p = completion_logits(self._model, batch).log_softmax(-1)
        chosen = log_p.gather(1, batch.targets[:, None])[:, 0].double()
        sums = chosen.new_zeros(len(sequences)).index_add_(0, batch.rows, chosen)
        starts = batch.rows.diff(prepend=batch.rows.new_tensor([-1])).nonzero()[:, 0]
        bounds = log_p[starts + after][:, list(next_tokens)].double()
        for place in range(after):
            bounds += chosen[starts + place][:, None]
        return list(zip(sums.tolist(), bounds.tolist(), strict=True))


def _shared(choices: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all choices begin with; none is the beginning of another."""
    for place, tokens in enumerate(zip(*choices, strict=False)):
        if len(set(tokens)) > 1:
            return place
    return 0


def _check_finite(values: Sequence[float], items: Sequence[Item]) -> None:
    bad = [item.key[:12] for item, value in zip(items, values, strict=True) if not -torch.inf < value < torch.inf]
    if bad:
        raise NonFiniteError(f"the loss of {len(bad)} examples is NaN or infinite, the first is {bad[0]}")

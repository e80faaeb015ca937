"""Gradients of a batch that a device cannot hold at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from relora_trainer.batching import TRAINING_TOKENS, runs
from relora_trainer.items import ItemSet
from relora_trainer.scoring import Batch, collate


def accumulate(
    items: ItemSet,
    batch: Sequence[int],
    loss_of: Callable[[Batch], Tensor],
    *,
    micro_batch_size: int,
    device: torch.device,
) -> float:
    """Add the gradient of the mean loss per completion token over a whole batch; return that loss, in nats.

    Args:
        items: The examples.
        batch: Indices of those of the batch.
        loss_of: Returns the loss summed over the completion tokens of its argument, a scalar with a gradient.
        micro_batch_size: Most examples of one forward pass, fewer if they are long.
        device: Where the loss is computed.
    """
    chosen = [items.items[index] for index in batch]
    sequences = [(item.prompt, items.completion(item)) for item in chosen]
    tokens = sum(len(completion) for _, completion in sequences)
    total = torch.zeros((), dtype=torch.float64, device=device)  # read once: a GPU is waited for at every reading
    for part in runs([items.length(item) for item in chosen], micro_batch_size, TRAINING_TOKENS):
        loss = loss_of(collate(sequences[part], device)) / tokens
        loss.backward()
        total += loss.detach()
    return float(total)

"""Gradients of a batch that a device cannot hold at once."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from relora_trainer.batching import TRAINING_TOKENS, runs
from relora_trainer.items import ItemSet
from relora_trainer.random_state import random_state, set_random_state
from relora_trainer.scoring import Batch, collate

LOG = logging.getLogger(__name__)


class Accumulator:
    """Computes gradients of batches of examples, in forward passes that the device has room for.

    Attributes:
        micro_batch_size: Most examples of one pass, fewer if they are long; halved when an accelerator has no room.
    """

    def __init__(
        self,
        items: ItemSet,
        loss_of: Callable[[Batch], Tensor],
        *,
        clear: Callable[[], None],
        micro_batch_size: int,
        device: torch.device,
        save_memory: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what all batches share.

        Args:
            items: The examples.
            loss_of: Returns the loss summed over the completion tokens of its argument, a scalar with a gradient.
            clear: Clears the gradient.
            micro_batch_size: Most examples of one pass at first.
            device: Where the loss is computed.
            save_memory: Called when there is no room, before passes are halved; tells whether it let them need less.
        """
        self.micro_batch_size = micro_batch_size
        self._items = items
        self._loss_of = loss_of
        self._clear = clear
        self._device = device
        self._save_memory = save_memory

    def gradient(self, batch: Sequence[int]) -> float:
        """Compute the gradient of the mean loss per completion token over a whole batch; return that loss, in nats.

        What an accelerator has no room for is computed again in passes that need less memory, from the same random
        numbers.

        Args:
            batch: Indices of the examples.

        Raises:
            torch.OutOfMemoryError: There is no room for one example.
        """
        before = random_state(self._device)
        self._clear()
        while True:
            try:
                return self._accumulate(batch)
            except torch.OutOfMemoryError:
                if not (self._save_memory() or self._halve()):
                    raise
            self._clear()
            torch.cuda.empty_cache()
            set_random_state(before, self._device)

    def _accumulate(self, batch: Sequence[int]) -> float:
        chosen = [self._items.items[index] for index in batch]
        sequences = [(item.prompt, self._items.completion(item)) for item in chosen]
        tokens = sum(len(completion) for _, completion in sequences)
        lengths = [self._items.length(item) for item in chosen]
        total = torch.zeros((), dtype=torch.float64, device=self._device)  # read once: a GPU is waited for each time
        for part in runs(lengths, self.micro_batch_size, TRAINING_TOKENS):
            loss = self._loss_of(collate(sequences[part], self._device)) / tokens
            loss.backward()
            total += loss.detach()
        return float(total)

    def _halve(self) -> bool:
        if self.micro_batch_size == 1:
            return False
        self.micro_batch_size //= 2
        LOG.warning("the accelerator has no room for a pass: from now on it has %d examples", self.micro_batch_size)
        return True

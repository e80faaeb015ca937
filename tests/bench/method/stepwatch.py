"""What the trainers of transformers and TRL are timed by: tokens that are not padding, and seconds of their steps."""

import time
from collections.abc import Callable, Mapping

from torch import Tensor
from transformers import TrainerCallback
from typing_extensions import override

Row = Mapping[str, list[int]]


class StepWatch(TrainerCallback):
    """Adds up the time from each step's begin to its end, its optimizer included."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0

    @override
    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self._begun = time.perf_counter()

    @override
    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self.seconds += time.perf_counter() - self._begun


class CountingCollator:
    """A collator that remembers how many tokens each batch held before padding."""

    def __init__(self, collate: Callable[[list[Row]], dict[str, Tensor]]) -> None:
        self.tokens: list[int] = []
        self._collate = collate

    def __call__(self, batch: list[Row]) -> dict[str, Tensor]:
        self.tokens.append(sum(len(row["input_ids"]) for row in batch))
        return self._collate(batch)

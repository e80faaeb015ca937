"""Scoring of a large part of a dataset in pieces, so that an interruption loses one piece.

Outcomes are true of the factors that they were measured with. Training that is continued may end with other ones on
hardware that does not compute the same bits, so the digest of the factors stands beside the outcomes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, replace
from pathlib import Path

from torch import Tensor

from relora_trainer.batching import by_length
from relora_trainer.factors import Factors
from relora_trainer.items import ItemSet
from relora_trainer.outcomes import Outcome
from relora_trainer.ports import Checkpoints

PIECE_ITEMS = 512

Progress = Callable[[int, int], None]
"""Called with the count of examples done and of all."""
Score = Callable[[ItemSet, Progress], list[Outcome]]
"""Returns the outcome of every example."""


def factors_digest(factors: Mapping[str, Factors], head: Tensor | None = None) -> str:
    """Return the SHA-256 of factors, and of a class head: their names, shapes and bytes."""
    hasher = hashlib.sha256()
    tensors = [(name, tensor) for name, pair in sorted(factors.items()) for tensor in pair.tensors.values()]
    if head is not None:
        tensors.append(("head", head))
    for name, tensor in tensors:
        hasher.update(f"{name} {list(tensor.shape)}\n".encode())
        hasher.update(tensor.contiguous().numpy().tobytes())
    return hasher.hexdigest()


class Evaluation:
    """One scoring of a set of examples, kept in a file of the step's checkpoint."""

    def __init__(
        self, path: Path, factors: Mapping[str, Factors], checkpoints: Checkpoints, *, head: Tensor | None = None
    ) -> None:
        """Continue what `path` holds, if it was measured with the same factors and class head.

        Args:
            path: A file of the checkpoint's folder.
            factors: What the scorer's model holds, float32 on the CPU.
            checkpoints: Asked after every piece.
            head: The weight of its class head, if it has one.
        """
        self._path = path
        self._factors = factors_digest(factors, head)
        self._checkpoints = checkpoints
        self._known = self._read()

    def run(self, score: Score, items: ItemSet, progress: Progress) -> list[Outcome]:
        """Return the outcome of every example, in their order.

        Args:
            score: Scores what is not known yet.
            items: The examples. They are taken in pieces of similar length, so that batches stay tight.
            progress: Called with the count of examples done and of all.
        """
        total = len(items.items)
        done = 0

        def told(count: int, _: int) -> None:
            progress(done + count, total)

        for piece in by_length([items.length(item) for item in items.items], PIECE_ITEMS):
            chosen = replace(items, items=tuple(items.items[index] for index in piece))
            if not all(item.key in self._known for item in chosen.items):
                self._known |= {outcome.key: outcome for outcome in score(chosen, told)}
                self._write()
                if self._checkpoints.is_due():
                    self._checkpoints.save()
            done += len(piece)
        return [self._known[item.key] for item in items.items]

    def _write(self) -> None:
        rows = [astuple(outcome) for outcome in self._known.values()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"factors": self._factors, "outcomes": rows}))

    def _read(self) -> dict[str, Outcome]:
        if not self._path.is_file():
            return {}
        stored = json.loads(self._path.read_text())
        if stored["factors"] != self._factors:
            return {}
        return {row[0]: Outcome(*row) for row in stored["outcomes"]}

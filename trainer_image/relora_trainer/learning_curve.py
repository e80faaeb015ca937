"""The learning curve of one stage, thinned while it is recorded, so that reports stay small."""

import math
from collections.abc import Callable

from pydantic import BaseModel

from relora_contract.report import LearningCurve, Look
from relora_trainer.decimals import decimal_text

POINTS = 250
Pull = Callable[[], tuple[float, float]]
"""Measures ‖θ − θ_init‖ and the anchor's term; called at points only."""


class CurveRecorder(BaseModel):
    """Records every n-th optimizer step, and what was seen of the monitor examples.

    A checkpoint keeps it as JSON, so that a resumed run records the same curve.

    Attributes:
        every: Optimizer steps between two points.
        points: By point: the count of steps, the mean loss since the point before, drift and penalty.
        losses: Of the steps since the last point.
        looks: In order.
    """

    every: int
    points: list[tuple[int, float, float, float]] = []
    losses: list[float] = []
    looks: list[Look] = []

    @classmethod
    def for_steps(cls, total: int) -> "CurveRecorder":
        """Return a recorder for a training of `total` steps."""
        return cls(every=max(1, math.ceil(total / POINTS)))

    def step(self, number: int, loss: float, pull: Pull) -> None:
        """Take the loss of an optimizer step, the `number`th."""
        self.losses.append(loss)
        if number % self.every == 0:
            self.end(number, pull)

    def end(self, number: int, pull: Pull) -> None:
        """Make the last step a point, wherever it was."""
        if self.losses:
            self.points.append((number, sum(self.losses) / len(self.losses), *pull()))
            self.losses = []

    def curve(self, reference: str | None) -> LearningCurve | None:
        """Return the curve for the report; None where no step was made.

        Args:
            reference: The old pair's value on the examples of the looks.
        """
        if not self.points:
            return None
        steps, losses, drifts, penalties = zip(*self.points, strict=True)
        few = max(1, math.ceil(len(self.looks) / POINTS))
        return LearningCurve(
            steps=list(steps),
            loss=[decimal_text(value) for value in losses],
            drift=[decimal_text(value) for value in drifts],
            penalty=[decimal_text(value) for value in penalties],
            looks=self.looks[::-few][::-1],
            look_reference=reference if self.looks else None,
        )

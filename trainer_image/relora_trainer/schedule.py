"""Learning rate and anchor strength by optimizer step, eqs. 20 and 22 of arXiv 2606.02606.

Stage 1 (steps 0 to E₁−1) has the constant rate η₁ and the strong anchor λ₁. Stage 2 (steps E₁ to E_total−1) has the
weak anchor λ₂ and a cosine from η₁ to η_min.
"""

import math
from dataclasses import dataclass, replace

from relora_trainer.errors import ConfigurationError


@dataclass(frozen=True)
class Schedule:
    """The plan of both stages.

    Attributes:
        total_steps: E_total, optimizer steps of both stages.
        stage1_steps: E₁.
        learning_rate: η₁.
        min_learning_rate: η_min.
        anchor_strong: λ₁.
        anchor_weak: λ₂.
    """

    total_steps: int
    stage1_steps: int
    learning_rate: float
    min_learning_rate: float
    anchor_strong: float
    anchor_weak: float

    def __post_init__(self) -> None:
        if not 0 <= self.stage1_steps <= self.total_steps:
            raise ConfigurationError(
                f"tuning.recoverFraction must be in [0, 1]: stage 1 has {self.stage1_steps} of {self.total_steps} steps"
            )
        if not 0 <= self.min_learning_rate <= self.learning_rate:
            raise ConfigurationError(
                f"tuning: minLearningRate {self.min_learning_rate:g} must not exceed "
                f"learningRate {self.learning_rate:g}, and neither may be negative"
            )
        if self.anchor_strong < 0 or self.anchor_weak < 0:
            raise ConfigurationError("tuning: anchorStrong and anchorWeak must not be negative")

    def learning_rate_at(self, step: int) -> float:
        """Return η of optimizer step `step`, counted from 0."""
        if step < self.stage1_steps:
            return self.learning_rate
        progress = (step - self.stage1_steps) / max(self.total_steps - self.stage1_steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * cosine

    def anchor_at(self, step: int) -> float:
        """Return λ of optimizer step `step`."""
        return self.anchor_strong if step < self.stage1_steps else self.anchor_weak

    def with_stage1_ending_at(self, step: int) -> "Schedule":
        """Return the schedule when stage 1 ended early: E₁ becomes `step`, E_total stays."""
        return replace(self, stage1_steps=step)

"""When an adapter in training seems good enough to ask the gate: judged on the monitor examples, never on the test set.

The monitor decides only when training stops; the gate decides what is served, and is asked once per step. Two
positive answers in a row are needed, since the best of many noisy ones is too good to be true.
"""

import math
from collections.abc import Sequence

from relora_contract.task import Gate, Metric
from relora_trainer.batching import TRAINING_COST
from relora_trainer.gate import measure
from relora_trainer.outcomes import Outcome

MONITOR_ITEMS = 128
MONITOR_SHARE = 0.25
"""Most time that watching may take, as a share of the time that training takes."""
MIN_STEPS = 2
IN_A_ROW = 2


def seems_ready(gates: Sequence[Gate], outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> bool:
    """Tell whether every gate's bound is met by the point estimates.

    A margin is not used up here: the adapter must be as good as the reference, so that it has a fair chance to pass
    the paired test on the test set.
    """
    return all(_meets(gate, outcomes, reference) for gate in gates)


def _meets(gate: Gate, outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> bool:
    sign = -1 if gate.metric is Metric.LOSS else 1
    value = sign * float(measure(gate.metric, outcomes).value)
    if gate.threshold is not None and value < sign * float(gate.threshold):
        return False
    return gate.max_regression is None or value >= sign * float(measure(gate.metric, reference).value)


def monitor_interval(items: int, batch_size: int) -> int:
    """Return how many optimizer steps lie between two looks at `items` monitor examples."""
    return max(MIN_STEPS, math.ceil(items / (MONITOR_SHARE * TRAINING_COST * batch_size)))


class Watch:
    """Counts positive answers in a row.

    Attributes:
        row: How many there were, up to now.
    """

    def __init__(self, row: int = 0) -> None:
        self.row = row

    @property
    def is_ready(self) -> bool:
        """Whether the last two answers were positive."""
        return self.row >= IN_A_ROW

    def tell(self, *, ready: bool) -> bool:
        """Take an answer and tell whether it was the second positive one in a row."""
        self.row = self.row + 1 if ready else 0
        return self.is_ready

"""Are the classes named in the order of the head's rows? The old adapter's own answers tell.

PEFT stores no names of classes. Where two are swapped the old adapter is wrong on its own base, every gate against it
as a reference passes, and training only teaches the head another order.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from relora_trainer.errors import ConfigurationError
from relora_trainer.outcomes import Outcome

LEVEL = 1e-3
"""Most often that a head whose rows are in order is taken for one whose rows are not."""
SHOWN = 3


def check_class_order(outcomes: Sequence[Outcome], classes: Sequence[str]) -> None:
    """Check that no other order of the classes fits the old adapter's answers significantly better.

    The best order is compared with the given one by a sign test on the examples that only one of them makes right,
    and the error level is divided by the number of orders, k!: the best of so many fits by chance.

    Args:
        outcomes: Of the old adapter on its own base.
        classes: `task.choices`.

    Raises:
        ConfigurationError: One does; the message says which classes should be where.
    """
    count = len(classes)
    table = np.zeros((count, count), dtype=np.int64)  # by row of the head and right class
    for (row, label), found in Counter((outcome.prediction, outcome.label) for outcome in outcomes).items():
        table[row, label] = found
    _, order = linear_sum_assignment(-table)
    moved = [row for row in range(count) if order[row] != row]
    better = int(sum(table[row, order[row]] for row in moved))
    worse = int(sum(table[row, row] for row in moved))
    log_p = float(binom.logsf(better - 1, better + worse, 0.5)) if better else 0.0
    if log_p + math.lgamma(count + 1) >= math.log(LEVEL):
        return
    places = [f"{classes[order[row]]!r} at {row}" for row in moved[:SHOWN]]
    more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    right = sum(outcome.correct for outcome in outcomes)
    raise ConfigurationError(
        f"task.choices seem not to be in the order of the head's rows: on its own base the old adapter is right on "
        f"{right} of {len(outcomes)} test examples, and on {right + better - worse} with {', '.join(places)}{more}"
    )

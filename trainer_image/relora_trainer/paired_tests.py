"""One-sided tests of paired non-inferiority: is the new adapter at most a margin worse than the old one?

The null hypothesis is Δ ≤ −margin, where Δ is the gain in quality (Loss: minus the rise in loss). Each test gives a
statistic that is large where the null hypothesis is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm, t

from relora_contract.report import Verdict
from relora_trainer.errors import DataError
from relora_trainer.outcomes import Outcome
from relora_trainer.paired import paired_difference

POWER = 0.8
MIN_LOSS_ITEMS = 100
"""With fewer, skewed differences of losses make the t statistic pass too often."""

Pairs = Sequence[tuple[Outcome, Outcome]]
"""Outcomes of the new and of the old adapter on the same example."""


@dataclass(frozen=True)
class Evidence:
    """The result of one test.

    Attributes:
        verdict: Passed if the null hypothesis is rejected, Failed if its opposite is, else Inconclusive.
        difference: New minus old, in the metric's unit.
        statistic: The test statistic; None for the bootstrap, which has none.
        items_needed: Examples for a power of 80 % when the two adapters are equally good.
        gained: Examples right now that were wrong before; None where the metric has no right and wrong.
        lost: Examples wrong now that were right before.
    """

    verdict: Verdict
    difference: float
    statistic: float | None
    items_needed: int
    gained: int | None = None
    lost: int | None = None


def tango_statistic(gained: int, lost: int, count: int, margin: float) -> float:
    """Return the score statistic of H₀: p_new − p_old = −margin for paired proportions (Tango, 1998).

    Args:
        gained: Pairs where only the new adapter is right.
        lost: Pairs where only the old adapter is right.
        count: All pairs.
        margin: In [0, 1).
    """
    theta = -margin
    a = 2.0 * count
    b = -gained - lost + (2 * count - gained + lost) * theta
    c = -lost * theta * (1 - theta)
    p_lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # restricted maximum-likelihood estimate
    variance = count * (2 * p_lost + theta * (1 - theta))
    numerator = gained - lost - count * theta
    if variance <= 0:
        return math.copysign(math.inf, numerator) if numerator else 0.0
    return numerator / math.sqrt(variance)


def accuracy_test(pairs: Pairs, *, margin: float, level: float) -> Evidence:
    """Test the share of right answers by Tango's score statistic, right also without any discordant pair."""
    gained = sum(new.correct and not old.correct for new, old in pairs)
    lost = sum(old.correct and not new.correct for new, old in pairs)
    count = len(pairs)
    statistic = tango_statistic(gained, lost, count, margin)
    return Evidence(
        verdict=_verdict(statistic, float(norm.isf(level))),
        difference=(gained - lost) / count,
        statistic=statistic,
        items_needed=items_needed((gained + lost) / count, margin=margin, level=level),
        gained=gained,
        lost=lost,
    )


def loss_test(pairs: Pairs, *, margin: float, level: float) -> Evidence:
    """Test the loss per completion token by the t statistic of the paired ratio estimator; lower is better.

    Raises:
        DataError: Fewer than 100 examples.
    """
    check_loss_sample(len(pairs))
    rise = paired_difference(
        [new.nll for new, _ in pairs], [old.nll for _, old in pairs], [new.tokens for new, _ in pairs]
    )
    slack = margin - rise.value
    if rise.standard_error == 0:
        statistic = math.copysign(math.inf, slack) if slack else 0.0
    else:
        statistic = slack / rise.standard_error
    variance = rise.standard_error**2 * rise.count
    return Evidence(
        verdict=_verdict(statistic, float(t.isf(level, max(rise.count - 1, 1)))),
        difference=rise.value,
        statistic=statistic,
        items_needed=items_needed(variance, margin=margin, level=level),
    )


def check_loss_sample(count: int) -> None:
    """Check that there are enough examples for the test of the loss.

    Raises:
        DataError: There are not.
    """
    if count < MIN_LOSS_ITEMS:
        raise DataError(f"Loss with maxRegression needs {MIN_LOSS_ITEMS} test examples; there are {count}")


def items_needed(variance: float, *, margin: float, level: float) -> int:
    """Return the examples for a power of 80 % when the two adapters are equally good.

    Args:
        variance: Of one example's paired difference; for right and wrong, the share of discordant pairs.
        margin: Above 0; with no margin no number of examples is enough, and 0 is returned.
        level: One-sided error level.
    """
    if margin <= 0:
        return 0
    quantiles = float(norm.isf(level) + norm.ppf(POWER))
    return math.ceil(quantiles**2 * variance / margin**2)


def _verdict(statistic: float, critical: float) -> Verdict:
    if statistic >= critical:
        return Verdict.PASSED
    return Verdict.FAILED if statistic <= -critical else Verdict.INCONCLUSIVE

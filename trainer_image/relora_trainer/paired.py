"""Token-weighted losses and their paired differences, with standard errors.

A loss is Σ nll / Σ tokens over the examples: a ratio of two sums, so that its standard error follows from the
residuals e_i = nll_i − loss·tokens_i (Cochran, Sampling Techniques, 1977, section 6.3). Two adapters are compared
on the same examples, which removes most of the variance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean and its uncertainty.

    Attributes:
        value: In nats per completion token.
        standard_error: In the same unit; infinite for a single example.
        count: Number of examples.
    """

    value: float
    standard_error: float
    count: int


def token_mean(nll: Sequence[float], tokens: Sequence[int]) -> Estimate:
    """Return the mean loss per token.

    Args:
        nll: Per example, the sum of the completion's negative log-likelihoods in nats.
        tokens: Per example, the number of completion tokens.

    Raises:
        ValueError: No examples, or lists of different lengths.
    """
    sums, counts = np.asarray(nll, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    if sums.shape != counts.shape or sums.size == 0:
        raise ValueError(f"{sums.size} losses and {counts.size} token counts do not describe the same examples")
    value = float(sums.sum() / counts.sum())
    if sums.size == 1:
        return Estimate(value, math.inf, 1)
    residuals = sums - value * counts
    standard_error = float(residuals.std(ddof=1) / (counts.mean() * math.sqrt(sums.size)))
    return Estimate(value, standard_error, int(sums.size))


def paired_difference(new: Sequence[float], old: Sequence[float], tokens: Sequence[int]) -> Estimate:
    """Return the mean loss of `new` minus that of `old`, per token, on the same examples in the same order."""
    if len(new) != len(old):
        raise ValueError(f"{len(new)} and {len(old)} losses are not paired")
    return token_mean(np.subtract(new, old).tolist(), tokens)


def is_lower(new: Sequence[float], old: Sequence[float], tokens: Sequence[int]) -> bool:
    """Tell whether the mean loss of `new` is lower by more than one standard error of the paired difference."""
    difference = paired_difference(new, old, tokens)
    return -difference.value > difference.standard_error

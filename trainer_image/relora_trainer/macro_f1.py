"""Macro F1, the mean F1 over the classes, and its paired test of non-inferiority."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from relora_contract.report import Verdict
from relora_trainer.errors import DataError
from relora_trainer.outcomes import Outcome
from relora_trainer.paired_tests import Evidence, Pairs, items_needed

BOOTSTRAP_ROWS = 2000
MIN_CLASS_ITEMS = 10
MIN_MACRO_F1_ITEMS = 600


def macro_f1_test(pairs: Pairs, *, margin: float, level: float, seed: int = 0) -> Evidence:
    """Test the mean F1 over the classes by a paired bootstrap, stratified by the right class.

    Raises:
        DataError: Fewer than 600 examples, or a class with fewer than 10: the bootstrap would not keep its level.
    """
    check_macro_f1_sample([new.label for new, _ in pairs])
    labels = np.array([new.label for new, _ in pairs])
    classes, counts = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(seed)
    weights = np.ones((BOOTSTRAP_ROWS + 1, len(pairs)))  # row 0 is the sample itself
    for label, count in zip(classes, counts, strict=True):
        weights[1:, labels == label] = rng.multinomial(count, np.full(count, 1 / count), size=BOOTSTRAP_ROWS)
    gains = _macro_f1(weights, labels, np.array([new.prediction for new, _ in pairs]), classes)
    gains -= _macro_f1(weights, labels, np.array([old.prediction for _, old in pairs]), classes)
    low, high = np.quantile(gains[1:], [level, 1 - level])
    verdict = Verdict.INCONCLUSIVE
    if low >= -margin:
        verdict = Verdict.PASSED
    elif high < -margin:
        verdict = Verdict.FAILED
    variance = float(gains[1:].var()) * len(pairs)
    return Evidence(verdict, float(gains[0]), None, items_needed(variance, margin=margin, level=level))


def check_macro_f1_sample(labels: Sequence[int]) -> None:
    """Check that there are enough examples, and enough of each class, for the test of the mean F1.

    Raises:
        DataError: There are not.
    """
    rarest = min(Counter(labels).values())
    if len(labels) < MIN_MACRO_F1_ITEMS or rarest < MIN_CLASS_ITEMS:
        raise DataError(
            f"MacroF1 with maxRegression needs {MIN_MACRO_F1_ITEMS} test examples and {MIN_CLASS_ITEMS} of each class; "
            f"there are {len(labels)}, and {rarest} of the rarest class"
        )


def macro_f1(outcomes: Sequence[Outcome]) -> float:
    """Return the mean F1 over the classes that occur among the labels."""
    labels = np.array([outcome.label for outcome in outcomes])
    predictions = np.array([outcome.prediction for outcome in outcomes])
    return float(_macro_f1(np.ones((1, len(outcomes))), labels, predictions, np.unique(labels))[0])


def _macro_f1(
    weights: NDArray[np.float64],
    labels: NDArray[np.int_],
    predictions: NDArray[np.int_],
    classes: NDArray[np.int_],
) -> NDArray[np.float64]:
    """Return the macro F1 of every row of `weights` (rows, items), `(rows,)`."""
    is_label = labels[:, None] == classes
    is_predicted = predictions[:, None] == classes
    true_positives = weights @ (is_label & is_predicted)
    both = weights @ is_label + weights @ is_predicted
    scores: NDArray[np.float64] = (2 * true_positives / np.maximum(both, 1e-12)).mean(1)
    return scores

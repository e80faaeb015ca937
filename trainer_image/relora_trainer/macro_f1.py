"""Macro F1, the mean F1 over the classes, and its paired test of non-inferiority."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from relora_contract.report import Verdict
from relora_trainer.errors import DataError
from relora_trainer.outcomes import Outcome
from relora_trainer.paired_tests import Evidence, Pairs, items_needed

BOOTSTRAP_ROWS = 2000
MIN_CLASS_ITEMS = 10
MIN_MACRO_F1_ITEMS = 600


def macro_f1_test(pairs: Pairs, *, margin: float, level: float, seed: int = 0) -> Evidence:
    """Test the mean F1 over the classes by a paired bootstrap, stratified by the right class.

    Where few examples were lost, or none, the bootstrap sees little of what other samples would have lost. So the
    margin must also hold if any one class loses as many more as its examples cannot exclude at the same level.

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
    predictions = np.array([new.prediction for new, _ in pairs])
    before = np.array([old.prediction for _, old in pairs])
    gains = _macro_f1(weights, labels, predictions, classes) - _macro_f1(weights, labels, before, classes)
    low, high = np.quantile(gains[1:], [level, 1 - level])
    unseen = max(_unseen_losses(labels, predictions, before, classes, level))
    verdict = Verdict.INCONCLUSIVE
    if min(low, gains[0] - unseen) > -margin:
        verdict = Verdict.PASSED
    elif high < -margin:
        verdict = Verdict.FAILED
    variance = float(gains[1:].var()) * len(pairs)
    # What a class may have lost unseen falls about as one divided by its examples.
    needed = max(items_needed(variance, margin=margin, level=level), _scaled(len(pairs), unseen, margin))
    return Evidence(verdict, float(gains[0]), None, needed)


def unchanged_needs(labels: Sequence[int], *, margin: float, level: float) -> int:
    """Return about how many examples an adapter that answers each right, as the old one did, needs to pass."""
    right = np.array(labels)
    return _scaled(len(labels), max(_unseen_losses(right, right, right, np.unique(right), level)), margin)


def _scaled(count: int, unseen: float, margin: float) -> int:
    return math.ceil(count * unseen / margin) if margin > 0 else 0


def _unseen_losses(
    labels: NDArray[np.int_],
    predictions: NDArray[np.int_],
    before: NDArray[np.int_],
    classes: NDArray[np.int_],
    level: float,
) -> list[float]:
    """Return by how much the mean F1 falls if one class lost as many examples as it may have, for each class.

    The upper limit of the share that a class loses is Clopper and Pearson's. What it loses beyond the observed falls to
    the class that suffers most from it.
    """
    counts = np.array([(labels == label).sum() for label in classes], dtype=np.float64)
    hits = np.array([((labels == label) & (predictions == label)).sum() for label in classes], dtype=np.float64)
    both = counts + np.array([(predictions == label).sum() for label in classes])
    found = []
    for place, label in enumerate(classes):
        of_class = labels == label
        lost = int((of_class & (before == label) & (predictions != label)).sum())
        most = float(beta.isf(level, lost + 1, counts[place] - lost)) if lost < counts[place] else 1.0
        more = min(most * counts[place] - lost, hits[place])
        fall = 2 * hits[place] / both[place] - 2 * (hits[place] - more) / max(both[place] - more, 1e-12)
        others = 2 * hits / np.maximum(both, 1e-12) - 2 * hits / (both + more + 1e-12)
        others[place] = 0.0
        found.append(float(fall + others.max()) / len(classes))
    return found


def check_macro_f1_sample(labels: Sequence[int]) -> None:
    """Check that there are enough examples, and enough of each class, for the test of the mean F1.

    Raises:
        DataError: There are not.
    """
    rarest = min(Counter(labels).values())
    if len(labels) < MIN_MACRO_F1_ITEMS or rarest < MIN_CLASS_ITEMS:
        raise DataError(
            f"MacroF1 with maxRegression needs {MIN_MACRO_F1_ITEMS} test examples and {MIN_CLASS_ITEMS} of each class "
            f"that occurs; there are {len(labels)}, and {rarest} of the rarest class"
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

from collections.abc import Sequence

import numpy as np
import pytest

from relora_trainer.class_order import check_class_order
from relora_trainer.errors import ConfigurationError
from relora_trainer.outcomes import Outcome

CLASSES = ("a", "b", "c", "d")


def answers(rows: Sequence[int], *, accuracy: float, count: int, seed: int) -> list[Outcome]:
    """Return outcomes of a classifier whose right answer to class i is row `rows[i]`."""
    rng = np.random.default_rng(seed)
    outcomes = []
    for index in range(count):
        label = index % len(rows)
        right = rng.random() < accuracy
        row = rows[label] if right else int(rng.integers(len(rows)))
        outcomes.append(Outcome(f"{index:064d}", label, row, 0.5, 1))
    return outcomes


@pytest.mark.parametrize(("rows", "count"), [((1, 0, 2, 3), 100), ((1, 2, 3, 0), 40), ((0, 1, 3, 2), 100)])
def test_classes_in_another_order_are_told(rows: tuple[int, ...], count: int) -> None:
    with pytest.raises(ConfigurationError, match="seem not to be in the order of the head's rows") as error:
        check_class_order(answers(rows, accuracy=0.85, count=count, seed=0), CLASSES)
    moved = [label for label, row in enumerate(rows) if row != label]
    assert f"{CLASSES[rows.index(moved[0])]!r} at {moved[0]}" in str(error.value)


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.9, 1.0])
def test_a_head_in_order_passes_however_bad_it_is(accuracy: float) -> None:
    """With 400 heads a level of 0.001 lets less than one fail."""
    for seed in range(100):
        check_class_order(answers((0, 1, 2, 3), accuracy=accuracy, count=80, seed=seed), CLASSES)


def test_two_classes_that_are_swapped_are_told() -> None:
    with pytest.raises(ConfigurationError, match="right on 3 of 40 test examples, and on 37 with 'b' at 0, 'a' at 1"):
        check_class_order([Outcome(str(i), i % 2, (i + (i > 2)) % 2, 0.5, 1) for i in range(40)], ("a", "b"))


def test_many_classes_are_not_all_named() -> None:
    classes = [str(number) for number in range(10)]
    rows = [(number + 1) % 10 for number in range(10)]
    with pytest.raises(ConfigurationError, match="and 7 more"):
        check_class_order(answers(rows, accuracy=1.0, count=100, seed=0), classes)


def test_a_few_answers_prove_nothing() -> None:
    check_class_order([Outcome(str(i), i % 2, 1 - i % 2, 0.5, 1) for i in range(8)], ("a", "b"))

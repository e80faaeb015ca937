import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from bench.method.resampling import Values, ratio_over_tasks


def seeds(*values: float) -> Values:
    """Return values that are divided by one each, so that the ratio is their mean."""
    return np.array([(1.0, value) for value in values])


def one_seed_each(values: Sequence[float]) -> list[list[Values]]:
    return [[seeds(value)] for value in values]


def test_it_is_a_ratio_of_sums_of_means_over_seeds() -> None:
    dear, cheap = np.array([(10.0, 20.0), (30.0, 20.0)]), np.array([(1.0, 8.0)])
    assert ratio_over_tasks([[dear, cheap]]).value == pytest.approx((20 + 8) / (20 + 1))


def test_values_that_do_not_differ_have_no_width() -> None:
    found = ratio_over_tasks([[seeds(2, 2)], [seeds(2)]])
    assert (found.value, found.ends) == (2.0, (2.0, 2.0))


def test_the_interval_of_a_mean_covers_what_theory_says() -> None:
    found = ratio_over_tasks(one_seed_each(range(100)))
    half = 1.96 * statistics.pstdev(range(100)) / 10
    assert found.value == pytest.approx(49.5)
    assert found.ends is not None
    assert found.ends[1] - found.ends[0] == pytest.approx(2 * half, rel=0.05)


def test_seeds_and_updates_of_one_task_are_no_further_tasks() -> None:
    few = ratio_over_tasks(one_seed_each([0, 1]))
    assert list(few.ends or ()) == [0, 1]
    assert ratio_over_tasks([[seeds(*[0] * 50)], [seeds(*[1] * 50)]]).ends == few.ends
    assert ratio_over_tasks([[seeds(0)] * 20, [seeds(1)] * 20]).ends == few.ends


def test_one_task_has_no_interval() -> None:
    assert ratio_over_tasks([[seeds(1, 3), seeds(2)]]).ends is None


def test_seeds_are_resampled_within_their_task() -> None:
    assert ratio_over_tasks([[seeds(0, 1)], [seeds(0, 1)]]).ends == (0, 1)


def test_the_same_values_give_the_same_interval() -> None:
    tasks = [[seeds(1, 2)], [seeds(3, 5)]]
    assert ratio_over_tasks(tasks) == ratio_over_tasks(tasks)

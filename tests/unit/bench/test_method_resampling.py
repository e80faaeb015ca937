import statistics

import pytest

from bench.method.resampling import over_tasks_and_seeds


def test_values_that_do_not_differ_have_no_interval() -> None:
    found = over_tasks_and_seeds([[2.0, 2.0], [2.0]], statistics.mean)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_the_interval_of_a_mean_covers_what_theory_says() -> None:
    groups = [[float(value)] for value in range(100)]
    found = over_tasks_and_seeds(groups, statistics.mean)
    half = 1.96 * statistics.pstdev(range(100)) / 10
    assert found.value == 49.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_seeds_of_one_task_are_no_further_tasks() -> None:
    few, many = [[0.0], [1.0]], [[0.0] * 50, [1.0] * 50]
    assert over_tasks_and_seeds(many, statistics.mean) == over_tasks_and_seeds(few, statistics.mean)


def test_the_same_values_give_the_same_interval() -> None:
    groups = [[1.0, 2.0], [3.0, 5.0]]
    assert over_tasks_and_seeds(groups, statistics.mean) == over_tasks_and_seeds(groups, statistics.mean)

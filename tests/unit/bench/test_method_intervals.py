import pytest

from bench.method.intervals import Estimate, mean, share


def test_the_mean_of_four_tasks_has_student_s_interval() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * 1.2909944 / 2  # t at 97.5 % with 3 degrees of freedom, the standard deviation, the root of n
    assert found.value == 2.5
    assert found.ends == pytest.approx((2.5 - half, 2.5 + half))


def test_one_task_tells_nothing_of_others() -> None:
    assert mean([3.0]) == Estimate(3.0)


def test_a_share_has_wilson_s_interval() -> None:
    found = share([True] * 8 + [False] * 2)
    assert found.value == 80
    assert found.ends == pytest.approx((49.02, 94.33), abs=0.01)


@pytest.mark.parametrize(("outcomes", "end", "side"), [([True] * 4, 100, 1), ([False] * 4, 0, 0)])
def test_no_share_is_beyond_all_or_none(outcomes: list[bool], end: float, side: int) -> None:
    found = share(outcomes)
    assert found.ends is not None
    assert found.ends[side] == pytest.approx(end)
    assert 0 < abs(found.ends[1] - found.ends[0]) < 100

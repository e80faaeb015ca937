import pytest

from bench.method.intervals import Estimate
from bench.method.timing import observed, reaches, spread


def test_few_values_give_their_whole_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == Estimate(2.0, (1.0, 3.0))


def test_a_single_value_has_no_interval() -> None:
    assert spread([3.0]) == Estimate(3.0)
    row = observed("x", [3.0], "s")
    assert (row.value, row.low, row.high) == (3.0, None, None)


@pytest.mark.parametrize(("count", "dropped"), [(6, 0), (8, 0), (9, 1), (15, 3), (20, 5)])
def test_many_values_give_the_ranks_of_the_sign_test(count: int, dropped: int) -> None:
    assert spread([float(value) for value in range(count)]).ends == (dropped, count - 1 - dropped)


@pytest.mark.parametrize(
    ("values", "met"),
    [([5.0, 6.0, 7.0], True), ([4.0, 4.5, 4.9], False), ([4.0, 6.0, 7.0], None), ([6.0], True), ([4.0], False)],
)
def test_a_row_is_met_by_its_whole_interval(values: list[float], *, met: bool | None) -> None:
    assert reaches("x", values, 5.0).met is met

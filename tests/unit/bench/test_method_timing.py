import pytest

from bench.method.timing import Spread, reaches, spread


def test_few_values_give_their_whole_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


@pytest.mark.parametrize(("count", "dropped"), [(6, 0), (8, 0), (9, 1), (15, 3), (20, 5)])
def test_many_values_give_the_ranks_of_the_sign_test(count: int, dropped: int) -> None:
    found = spread([float(value) for value in range(count)])
    assert (found.low, found.high) == (dropped, count - 1 - dropped)


def test_a_row_is_met_by_its_median() -> None:
    assert reaches("x", [4.0, 6.0, 7.0], 5.0).met
    assert reaches("x", [4.0, 4.5, 7.0], 5.0).met is False

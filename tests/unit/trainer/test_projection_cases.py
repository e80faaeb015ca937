from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from relora_trainer.projection import project

ROWS, COLUMNS = 300, 400
"""Large enough that the space is found by iteration."""


def test_a_low_rank_matrix_is_recovered_exactly() -> None:
    torch.manual_seed(0)
    delta = torch.randn(200, 3) @ torch.randn(3, 190)
    projection = project(delta, 8, name="x")
    torch.testing.assert_close(projection.factors.dense(), delta, atol=1e-4, rtol=1e-4)
    assert projection.energy() > 0.999999


def test_rank_is_capped_at_the_smaller_side() -> None:
    projection = project(torch.randn(5, 40), 64, name="x")
    assert projection.factors.rank == 5


def test_zeros_have_rank_zero_and_full_energy() -> None:
    projection = project(torch.zeros(6, 4), 3, name="x")
    assert projection.factors.rank == 0
    assert projection.factors.weight_shape == (6, 4)
    assert projection.energy() == 1.0


def test_same_name_same_bits_whatever_the_global_generator() -> None:
    delta = torch.randn(164, 196)
    first = project(delta, 8, name="x")
    torch.manual_seed(123)
    again = project(delta, 8, name="x")
    assert torch.equal(first.factors.a, again.factors.a)
    assert torch.equal(first.factors.b, again.factors.b)


def one_element() -> Tensor:
    delta = torch.zeros(ROWS, COLUMNS)
    delta[3, 5] = 1.0
    return delta


def few_rows() -> Tensor:
    delta = torch.zeros(ROWS, COLUMNS)
    delta[:20] = torch.randn(20, COLUMNS)
    return delta


def few_columns() -> Tensor:
    delta = torch.zeros(ROWS, COLUMNS)
    delta[:, 7:40] = torch.randn(ROWS, 33)
    return delta


def all_values_equal() -> Tensor:
    return torch.eye(ROWS, COLUMNS)


def wide_range() -> Tensor:
    return (torch.randn(ROWS, 30) * 10.0 ** -torch.arange(30)) @ torch.randn(30, COLUMNS)


def tiny() -> Tensor:
    return 1e-18 * wide_range()


def huge() -> Tensor:
    return 1e17 * wide_range()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("made", [one_element, few_rows, few_columns, all_values_equal, wide_range, tiny, huge])
def test_no_structure_loses_or_counts_twice_what_it_holds(made: Callable[[], Tensor], precision: torch.dtype) -> None:
    torch.manual_seed(0)
    delta = made()
    rounded = None if precision == torch.float32 else delta.to(precision)
    projection = project(delta, 16, name="x", rounded=rounded)
    squares = torch.linalg.svdvals(delta.double()).square()
    left = (delta.double() - projection.factors.dense().double()).square().sum()
    assert squares.sum() - left >= 0.9999 * squares[:16].sum()
    assert projection.energy() == pytest.approx(float(1 - left / squares.sum()), abs=1e-4)


def test_it_goes_on_until_a_spectrum_that_hardly_falls_is_resolved() -> None:
    torch.manual_seed(0)
    delta = torch.randn(700, 800) * torch.arange(1, 801) ** -0.3
    projection = project(delta, 16, name="x")
    best = torch.linalg.svdvals(delta.double())[:16].square().sum()
    assert projection.singular_values.double().square().sum() >= 0.9999 * best

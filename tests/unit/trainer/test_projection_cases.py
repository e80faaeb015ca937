import torch

from relora_trainer.projection import project


def test_a_low_rank_matrix_is_recovered_exactly() -> None:
    torch.manual_seed(0)
    delta = torch.randn(200, 3) @ torch.randn(3, 90)
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
    delta = torch.randn(64, 96)
    first = project(delta, 8, name="x")
    torch.manual_seed(123)
    again = project(delta, 8, name="x")
    assert torch.equal(first.factors.a, again.factors.a)
    assert torch.equal(first.factors.b, again.factors.b)

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relora_trainer.dora import updated_row_norms
from relora_trainer.factors import Factors
from relora_trainer.fusion import Fusion, prepare

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
coefficients = st.floats(-2, 3)
seeds = st.integers(0, 1000)


def random_factors(shape: tuple[int, int], rank: int, generator: torch.Generator) -> Factors:
    rows, columns = shape
    return Factors(torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator))


def best_of_rank(dense: torch.Tensor, rank: int) -> torch.Tensor:
    u, s, v_t = torch.linalg.svd(dense, full_matrices=False)
    best: torch.Tensor = (u[:, :rank] * s[:rank]) @ v_t[:rank]
    return best


@settings(max_examples=80, deadline=None)
@given(
    shape=shapes,
    rank=st.integers(1, 8),
    delta_rank=st.integers(0, 12),
    alpha=coefficients,
    beta=coefficients,
    seed=seeds,
)
def test_fusion_is_the_best_approximation_of_the_dense_sum(
    *, shape: tuple[int, int], rank: int, delta_rank: int, alpha: float, beta: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    old, delta = random_factors(shape, rank, generator), random_factors(shape, delta_rank, generator)
    fused = prepare(old, delta).candidate(alpha, beta)
    exact = alpha * delta.truncated(rank).to(torch.float64).dense() + beta * old.to(torch.float64).dense()
    assert fused.rank == rank
    assert fused.weight_shape == shape
    distance = torch.linalg.matrix_norm(exact - fused.dense())
    optimum = torch.linalg.matrix_norm(exact - best_of_rank(exact, rank))
    assert float(distance - optimum) <= 1e-5 * (float(torch.linalg.matrix_norm(exact)) + 1e-6)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, rank=st.integers(1, 8), beta=coefficients, seed=seeds)
def test_without_delta_the_sum_is_exact_and_balanced(shape: tuple[int, int], rank: int, beta: float, seed: int) -> None:
    old = random_factors(shape, rank, torch.Generator().manual_seed(seed))
    fused = prepare(old, None).candidate(0.7, beta)
    exact = beta * old.to(torch.float64).dense()
    scale = float(exact.abs().max()) + 1e-6
    torch.testing.assert_close(fused.dense().double(), exact, atol=1e-5 * scale, rtol=0)
    there = fused.b.norm(dim=0) > 0
    a, b = fused.a[there], fused.b[:, there]
    torch.testing.assert_close(a @ a.T, b.T @ b, atol=1e-4 * (1 + float((a @ a.T).norm())), rtol=0)


@settings(max_examples=20, deadline=None)
@given(shape=shapes, rank=st.integers(1, 6), stored=st.integers(0, 6), beta=st.sampled_from([0.0, 1.0]), seed=seeds)
def test_what_vanishes_can_still_be_trained(
    shape: tuple[int, int], rank: int, stored: int, beta: float, seed: int
) -> None:
    old = random_factors(shape, min(stored, rank), torch.Generator().manual_seed(seed)).padded(rank)
    fused = prepare(old, None).candidate(0.7, beta)
    components = min(rank, *shape)
    gone = fused.b[:, :components].norm(dim=0) == 0
    assert int((~gone).sum()) == (min(components, stored) if beta else 0)
    norms = fused.a[:components][gone].norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 3**-0.5))
    torch.testing.assert_close(fused.dense(), beta * old.dense(), atol=1e-4, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, rank=st.integers(1, 6), alpha=st.floats(0, 1), beta=st.floats(0, 3), seed=seeds)
def test_dora_weights_keep_their_row_gain(
    shape: tuple[int, int], rank: int, alpha: float, beta: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    old_weight = torch.randn(shape, generator=generator)
    new_weight = old_weight + 0.1 * torch.randn(shape, generator=generator)
    old, delta = random_factors(shape, rank, generator), random_factors(shape, rank, generator)
    magnitude = torch.rand(shape[0], generator=generator) + 0.5
    fusion = prepare(replace(old, magnitude=magnitude), delta, (old_weight, new_weight))
    fused = fusion.candidate(alpha, beta)
    assert fused.magnitude is not None

    before = old_weight.double() + old.to(torch.float64).dense()
    after = new_weight.double() + fused.to(torch.float64).dense()
    want = magnitude.double() * after.norm(dim=1) / before.norm(dim=1)
    torch.testing.assert_close(fused.magnitude.double(), want, atol=1e-4, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, rank=st.integers(0, 6), seed=seeds)
def test_row_norms_equal_those_of_the_dense_sum(shape: tuple[int, int], rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, update = torch.randn(shape, generator=generator), random_factors(shape, rank, generator)
    want = (weight.double() + update.to(torch.float64).dense()).norm(dim=1)
    torch.testing.assert_close(updated_row_norms(weight, update), want, atol=1e-6, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 4), more=st.integers(0, 4), seed=seeds)
def test_padding_keeps_the_product(rank: int, more: int, seed: int) -> None:
    factors = random_factors((6, 9), rank, torch.Generator().manual_seed(seed))
    padded = factors.padded(rank + more)
    assert padded.rank == rank + more
    torch.testing.assert_close(padded.dense(), factors.dense())


def test_modules_and_ranks_are_the_old_adapters() -> None:
    generator = torch.Generator().manual_seed(0)
    old = {"a": random_factors((8, 6), 3, generator), "b": random_factors((5, 7), 2, generator)}
    delta = {"a": random_factors((8, 6), 5, generator), "c": random_factors((4, 4), 4, generator)}
    fused = Fusion(old, delta).candidate(0.5, 1.0)
    assert {name: factors.rank for name, factors in fused.items()} == {"a": 3, "b": 2}


def test_dora_cannot_be_fused_without_the_weights_of_both_bases() -> None:
    generator = torch.Generator().manual_seed(0)
    old = replace(random_factors((8, 6), 3, generator), magnitude=torch.ones(8))
    with pytest.raises(ValueError, match="both bases"):
        Fusion({"a": old}, {})

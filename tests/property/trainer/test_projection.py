import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relora_trainer.projection import project


def decaying(rows: int, columns: int, power: float, seed: int) -> torch.Tensor:
    """A random matrix with singular values i^-power."""
    generator = torch.Generator().manual_seed(seed)
    k = min(rows, columns)
    u, _ = torch.linalg.qr(torch.randn(rows, k, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(columns, k, generator=generator))
    decayed: torch.Tensor = (u * torch.arange(1, k + 1).pow(-power)) @ v.T
    return decayed


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(4, 400),
    columns=st.integers(4, 400),
    rank=st.integers(1, 64),
    power=st.floats(0.3, 2.0),
    seed=st.integers(0, 1000),
)
def test_captures_nearly_the_optimal_energy(rows: int, columns: int, rank: int, power: float, seed: int) -> None:
    delta = decaying(rows, columns, power, seed)
    projection = project(delta, rank, name="layer")
    optimal = torch.linalg.svdvals(delta.double())[:rank].square().sum()
    residual = (delta - projection.factors.dense()).double().square().sum()
    captured = delta.double().square().sum() - residual
    assert captured >= 0.9999 * optimal
    assert abs(projection.energy() - float(captured / delta.double().square().sum())) < 1e-4


@settings(max_examples=25, deadline=None)
@given(rank=st.integers(1, 12), smaller=st.integers(1, 12), seed=st.integers(0, 1000))
def test_slices_are_projections_of_smaller_rank(rank: int, smaller: int, seed: int) -> None:
    smaller = min(rank, smaller)
    delta = decaying(40, 60, 1.0, seed)
    projection = project(delta, rank, name="layer")
    direct = project(delta, smaller, name="layer")
    torch.testing.assert_close(
        projection.factors.truncated(smaller).dense(), direct.factors.dense(), atol=1e-4, rtol=1e-3
    )
    assert abs(projection.energy(smaller) - direct.energy()) < 1e-5


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_factors_are_balanced(seed: int) -> None:
    projection = project(decaying(30, 50, 1.0, seed), 8, name="layer")
    gram_a = projection.factors.a @ projection.factors.a.T
    gram_b = projection.factors.b.T @ projection.factors.b
    torch.testing.assert_close(gram_a, torch.diag(projection.singular_values), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gram_b, torch.diag(projection.singular_values), atol=1e-5, rtol=1e-4)

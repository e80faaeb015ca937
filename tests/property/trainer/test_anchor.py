import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter

from relora_trainer.anchor import Anchor


def task_loss(a: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return ((x @ a.T @ b.T).tanh() - 1).square().mean()


@settings(max_examples=50, deadline=None)
@given(strength=st.floats(0, 10), accumulated=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_gradient_is_that_of_the_penalty_in_the_loss(strength: float, accumulated: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    initial = {"a": torch.randn(3, 7, generator=generator), "b": torch.randn(5, 3, generator=generator)}
    start = {name: value + torch.randn(value.shape, generator=generator) for name, value in initial.items()}
    inputs = torch.randn(accumulated, 4, 7, generator=generator)

    ours = {name: Parameter(value.clone()) for name, value in start.items()}
    for x in inputs:
        (task_loss(ours["a"], ours["b"], x) / accumulated).backward()
    Anchor(ours, initial).add_gradient(strength)

    theirs = {name: Parameter(value.clone()) for name, value in start.items()}
    penalty = strength / 2 * torch.stack([(theirs[name] - initial[name]).square().sum() for name in theirs]).sum()
    task = torch.stack([task_loss(theirs["a"], theirs["b"], x) for x in inputs]).sum() / accumulated
    (task + penalty).backward()

    for name, parameter in ours.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-5, rtol=1e-5)


def test_a_parameter_that_the_task_does_not_touch_is_pulled_too() -> None:
    parameter = Parameter(torch.full((2, 2), 3.0))
    Anchor({"a": parameter}, {"a": torch.ones(2, 2)}).add_gradient(0.5)
    assert parameter.grad is not None
    assert torch.equal(parameter.grad, torch.ones(2, 2))


def test_the_anchor_does_not_move_with_the_parameters() -> None:
    parameter = Parameter(torch.zeros(2, 2))
    anchor = Anchor({"a": parameter}, {"a": parameter})
    with torch.no_grad():
        parameter.add_(2)
    assert anchor.drift() == pytest.approx(4)


def test_other_names_or_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="names and shapes"):
        Anchor({"a": Parameter(torch.zeros(2, 2))}, {"b": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="names and shapes"):
        Anchor({"a": Parameter(torch.zeros(2, 2))}, {"a": torch.zeros(2, 3)})

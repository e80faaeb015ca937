from collections.abc import Callable

import pytest
import torch

from relora_trainer.errors import NonFiniteError
from relora_trainer.factors import named_tensors
from relora_trainer.schedule import Schedule
from relora_trainer.tuning import Ending, Tuner, train
from samples.tuners import MODULES, SCHEDULE, bits, initial, make_classifier_tuner, make_tuner, steps


def test_training_lowers_the_loss() -> None:
    statistics = steps(make_tuner(schedule=Schedule(40, 8, 2e-2, 1e-4, 1e-3, 1e-4)), 40)
    assert sum(s.loss for s in statistics[-5:]) < 0.5 * sum(s.loss for s in statistics[:5])


def test_the_head_is_trained_and_held_by_the_anchor() -> None:
    tuner = make_classifier_tuner()
    head = tuner._parameters["score.weight"]
    start = head.detach().clone()
    assert tuner.drift() == 0
    statistics = steps(tuner, 20)
    assert sum(s.loss for s in statistics[-5:]) < sum(s.loss for s in statistics[:5])
    moved = float((head.detach() - start).norm())
    assert 0 < moved < tuner.drift()
    tuner._anchor.add_gradient(2.0)
    assert head.grad is not None
    torch.testing.assert_close(head.grad, 2.0 * (head.detach() - start))


def test_magnitudes_are_trained_and_anchored() -> None:
    tuner = make_tuner(use_dora=True)
    steps(tuner, 3)
    start = named_tensors(initial(use_dora=True))
    moved = {name: parameter.detach() - start[name] for name, parameter in tuner._parameters.items()}
    magnitudes = [change for name, change in moved.items() if name.endswith("lora_magnitude_vector")]
    assert len(magnitudes) == len(MODULES)
    assert all(change.abs().max() > 1e-3 for change in magnitudes)
    everything = sum(float(change.square().sum()) for change in moved.values())
    assert tuner.drift() == pytest.approx(everything**0.5, rel=1e-4)


def test_the_anchor_holds_the_factors_back() -> None:
    free = make_tuner(schedule=Schedule(10, 10, 1e-2, 1e-4, 0.0, 0.0))
    held = make_tuner(schedule=Schedule(10, 10, 1e-2, 1e-4, 50.0, 0.0))
    steps(free, 10)
    steps(held, 10)
    assert held.drift() < 0.8 * free.drift()


def test_the_first_step_equals_adamw_by_hand() -> None:
    """From zero moments AdamW moves each factor by η·g/(|g| + ε), whatever the clipping; weight decay is zero."""
    tuner = make_tuner(dropout=0.0)
    before = {name: parameter.detach().clone() for name, parameter in tuner._parameters.items()}
    tuner.step()
    for name, parameter in tuner._parameters.items():
        move = (parameter.detach() - before[name]).abs()
        assert float(move.max()) <= SCHEDULE.learning_rate * 1.001
        assert float(move.median()) == pytest.approx(SCHEDULE.learning_rate, rel=1e-2)


def test_steps_are_those_of_adam_in_float64() -> None:
    """Eq. 20 with AdamW: moments, their corrections and the rate written out; only the gradients are the tuner's."""
    tuner = make_tuner(dropout=0.0)
    gradients: list[dict[str, torch.Tensor]] = []

    def keep(*_: object) -> None:
        found = {name: parameter.grad for name, parameter in tuner._parameters.items()}
        gradients.append({name: grad.double().clone() for name, grad in found.items() if grad is not None})

    tuner._optimizer.register_step_pre_hook(keep)
    start = {name: parameter.detach().double().clone() for name, parameter in tuner._parameters.items()}
    rates = [SCHEDULE.learning_rate_at(step) for step in range(5)]
    steps(tuner, 5)
    for name, initial_value in start.items():
        wanted = initial_value.clone()
        first, second = torch.zeros_like(wanted), torch.zeros_like(wanted)
        for count, (rate, gradient) in enumerate(zip(rates, gradients, strict=True), start=1):
            first = 0.9 * first + 0.1 * gradient[name]
            second = 0.999 * second + 0.001 * gradient[name] ** 2
            wanted -= rate * (first / (1 - 0.9**count)) / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
        torch.testing.assert_close(tuner._parameters[name].detach().double(), wanted, atol=1e-6, rtol=1e-4)


def test_the_penalty_is_that_of_the_equation_in_both_stages() -> None:
    schedule = Schedule(6, 3, 1e-2, 1e-4, 0.5, 0.02)
    tuner = make_tuner(schedule=schedule, dropout=0.0)
    initial = {name: parameter.detach().double().clone() for name, parameter in tuner._parameters.items()}
    for step in range(6):
        steps(tuner, 1)
        squares = sum(float((p.detach().double() - initial[n]).square().sum()) for n, p in tuner._parameters.items())
        strength = 0.5 if step < 3 else 0.02
        assert tuner.penalty() == pytest.approx(strength / 2 * squares, rel=1e-5)
        assert tuner.drift() == pytest.approx(squares**0.5, rel=1e-5)


def test_a_non_finite_loss_names_step_and_batch_and_spoils_nothing() -> None:
    tuner = make_tuner()
    steps(tuner, 2)
    before = bits(tuner)
    with torch.no_grad():
        tuner._model.get_parameter("model.layers.0.mlp.up_proj.weight")[0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match=r"step 2: the loss is nan .* batch of 8 examples begins with 0000"):
        tuner.step()
    assert bits(tuner) == before


class TestTrain:
    @pytest.fixture
    def log(self) -> list[str]:
        return []

    @pytest.fixture
    def run(self, log: list[str]) -> Callable[..., Ending]:
        def run(tuner: Tuner, until: int, *, ready_at: int | None = None, due_at: int | None = None) -> Ending:
            def is_ready(step: int) -> bool:
                log.append(f"monitor {step}")
                return step == ready_at

            return train(
                tuner,
                until,
                monitor_every=2,
                is_ready=is_ready,
                is_due=lambda: tuner.step_count == due_at,
                checkpoint=lambda: log.append(f"checkpoint {tuner.step_count}"),
                on_step=lambda step, _statistics: log.append(f"step {step}"),
            )

        return run

    def test_asks_the_monitor_at_its_interval_and_saves_when_it_is_due(
        self, run: Callable[..., Ending], log: list[str]
    ) -> None:
        assert run(make_tuner(), 4, due_at=2) is Ending.FINISHED
        assert log == ["step 1", "step 2", "monitor 2", "checkpoint 2", "step 3", "step 4", "monitor 4"]

    def test_ends_as_soon_as_it_is_ready(self, run: Callable[..., Ending], log: list[str]) -> None:
        tuner = make_tuner()
        assert run(tuner, 20, ready_at=4) is Ending.READY
        assert tuner.step_count == 4
        assert log[-1] == "monitor 4"

    def test_nothing_is_left_to_do_after_the_last_step(self, run: Callable[..., Ending], log: list[str]) -> None:
        tuner = make_tuner()
        steps(tuner, 4)
        assert run(tuner, 4) is Ending.FINISHED
        assert log == []

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from relora_trainer import accumulation
from relora_trainer.errors import IntegrityError, NonFiniteError
from relora_trainer.factors import Factors, named_tensors
from relora_trainer.heads import Head
from relora_trainer.items import Item, ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.schedule import Schedule
from relora_trainer.scoring import Batch, collate
from relora_trainer.tuning import Ending, StepStatistics, Tuner, train
from samples.tinymodels import tiny_classifier

MakeBase = Callable[..., LlamaForCausalLM]
MakeTuner = Callable[..., Tuner]
MODULES = {"model.layers.0.self_attn.q_proj": (32, 32), "model.layers.1.mlp.down_proj": (32, 48)}
SCHEDULE = Schedule(20, 4, 1e-2, 1e-4, 1e-1, 1e-2)
CHOICES = ((5, 2), (6, 7, 2), (8, 2))


def copy_task(count: int = 48) -> ItemSet:
    """The label is told by the prompt's last token."""
    generator = torch.Generator().manual_seed(0)
    items = []
    for index in range(count):
        label = index % len(CHOICES)
        noise = torch.randint(20, 60, (3 + index % 5,), generator=generator).tolist()
        items.append(Item(f"{index:064d}", (*noise, 10 + label), label))
    return ItemSet(tuple(items), CHOICES, 0)


def initial(*, use_dora: bool = False) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: Factors(
            torch.randn(4, columns, generator=generator) * 0.1,
            torch.randn(rows, 4, generator=generator) * 0.1,
            1.5 + torch.rand(rows, generator=generator) if use_dora else None,
        )
        for name, (rows, columns) in MODULES.items()
    }


@pytest.fixture
def make_tuner(make_base: MakeBase) -> MakeTuner:
    def make(
        *,
        items: ItemSet | None = None,
        schedule: Schedule = SCHEDULE,
        dropout: float = 0.1,
        micro_batch_size: int = 8,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        use_dora: bool = False,
    ) -> Tuner:
        model = make_base(dtype=dtype)
        lora = LoraModel(model, dict.fromkeys(MODULES, 4), dropout=dropout, use_dora=use_dora)
        return Tuner(
            model,
            lora,
            items or copy_task(),
            schedule,
            initial=initial(use_dora=use_dora),
            batch_size=8,
            micro_batch_size=micro_batch_size,
            seed=seed,
        )

    return make


def classes_of(items: ItemSet) -> ItemSet:
    """The same examples for a classifier."""
    return replace(items, choices=tuple((row,) for row, _ in enumerate(items.choices)))


@pytest.fixture
def make_classifier_tuner() -> MakeTuner:
    def make() -> Tuner:
        model = tiny_classifier(len(CHOICES))
        lora = LoraModel(model, dict.fromkeys(MODULES, 4), dropout=0.1, with_head=True)
        return Tuner(
            model,
            lora,
            classes_of(copy_task()),
            SCHEDULE,
            initial=initial(),
            head=Head("score", torch.linspace(-1, 1, 3 * 32).reshape(3, 32), torch.float32),
            batch_size=8,
            micro_batch_size=8,
            seed=0,
        )

    return make


def bits(tuner: Tuner) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in tuner._parameters.values()]


def steps(tuner: Tuner, count: int) -> list[StepStatistics]:
    return [tuner.step() for _ in range(count)]


def test_training_lowers_the_loss(make_tuner: MakeTuner) -> None:
    statistics = steps(make_tuner(schedule=Schedule(40, 8, 2e-2, 1e-4, 1e-3, 1e-4)), 40)
    assert sum(s.loss for s in statistics[-5:]) < 0.5 * sum(s.loss for s in statistics[:5])


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interrupted_at", [0, 3, 6])
def test_a_resumed_run_ends_with_the_same_bits(
    make_tuner: MakeTuner, tmp_path: Path, interrupted_at: int, dtype: torch.dtype, *, use_dora: bool
) -> None:
    straight = make_tuner(dtype=dtype, use_dora=use_dora)
    want = steps(straight, 9)
    first = make_tuner(dtype=dtype, use_dora=use_dora)
    before = steps(first, interrupted_at)
    first.save(tmp_path)
    steps(first, 2)  # what came after the save is lost
    resumed = make_tuner(dtype=dtype, use_dora=use_dora)
    torch.rand(17)  # the new process drew other random numbers
    assert resumed.restore(tmp_path)
    assert before + steps(resumed, 9 - interrupted_at) == want
    assert bits(resumed) == bits(straight)


def test_a_resumed_classifier_ends_with_the_same_bits(make_classifier_tuner: MakeTuner, tmp_path: Path) -> None:
    straight = make_classifier_tuner()
    want = steps(straight, 7)
    first = make_classifier_tuner()
    before = steps(first, 3)
    first.save(tmp_path)
    resumed = make_classifier_tuner()
    assert resumed.restore(tmp_path)
    assert before + steps(resumed, 4) == want
    assert bits(resumed) == bits(straight)


def test_the_head_is_trained_and_held_by_the_anchor(make_classifier_tuner: MakeTuner) -> None:
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


def test_magnitudes_are_trained_and_anchored(make_tuner: MakeTuner) -> None:
    tuner = make_tuner(use_dora=True)
    steps(tuner, 3)
    start = named_tensors(initial(use_dora=True))
    moved = {name: parameter.detach() - start[name] for name, parameter in tuner._parameters.items()}
    magnitudes = [change for name, change in moved.items() if name.endswith("lora_magnitude_vector")]
    assert len(magnitudes) == len(MODULES)
    assert all(change.abs().max() > 1e-3 for change in magnitudes)
    everything = sum(float(change.square().sum()) for change in moved.values())
    assert tuner.drift() == pytest.approx(everything**0.5, rel=1e-4)


def test_without_the_random_state_the_bits_would_differ(make_tuner: MakeTuner, tmp_path: Path) -> None:
    straight = make_tuner()
    steps(straight, 6)
    tuner = make_tuner()
    steps(tuner, 3)
    tuner.save(tmp_path)
    tensors = load_file(tmp_path / "state.safetensors")
    torch.manual_seed(99)
    tensors["random.cpu"] = torch.get_rng_state()
    save_file(tensors, tmp_path / "state.safetensors")
    resumed = make_tuner()
    resumed.restore(tmp_path)
    steps(resumed, 3)
    assert bits(resumed) != bits(straight)


def test_an_early_end_of_stage_1_survives_a_resume(make_tuner: MakeTuner, tmp_path: Path) -> None:
    tuner = make_tuner()
    steps(tuner, 2)
    tuner.end_stage1()
    tuner.save(tmp_path)
    resumed = make_tuner()
    resumed.restore(tmp_path)
    assert resumed.schedule == tuner.schedule == SCHEDULE.with_stage1_ending_at(2)


def test_the_state_is_safetensors_and_json(make_tuner: MakeTuner, tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.safetensors", "state.json"}


def test_other_hardware_is_told_apart(make_tuner: MakeTuner, tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    path = tmp_path / "state.json"
    state = json.loads(path.read_text())
    state["machine"]["threads"] += "0"
    path.write_text(json.dumps(state))
    assert not make_tuner().restore(tmp_path)


@pytest.mark.parametrize("damage", ["no json", "no tensors", "truncated", "missing", "shape"])
def test_a_damaged_state_is_refused(make_tuner: MakeTuner, tmp_path: Path, damage: str) -> None:
    tuner = make_tuner()
    steps(tuner, 1)
    tuner.save(tmp_path)
    tensors = tmp_path / "state.safetensors"
    name = "model.layers.1.mlp.down_proj.lora_A"
    match damage:
        case "no json":
            (tmp_path / "state.json").write_text("{")
        case "no tensors":
            tensors.unlink()
        case "truncated":
            tensors.write_bytes(tensors.read_bytes()[:-1])
        case "missing":
            save_file({key: value for key, value in load_file(tensors).items() if key != f"{name}.exp_avg"}, tensors)
        case "shape":
            save_file(load_file(tensors) | {f"{name}.value": torch.zeros(3, 48)}, tensors)
    with pytest.raises(IntegrityError):
        make_tuner().restore(tmp_path)


def test_the_state_of_other_examples_is_refused(make_tuner: MakeTuner, tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    with pytest.raises(IntegrityError, match="other examples"):
        make_tuner(items=copy_task(32)).restore(tmp_path)


def test_micro_batches_give_the_gradient_of_the_whole_batch(make_tuner: MakeTuner) -> None:
    whole, parts = make_tuner(dropout=0.0), make_tuner(dropout=0.0, micro_batch_size=3)
    for _ in range(3):
        one, other = whole.step(), parts.step()
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)


def test_long_examples_come_in_smaller_passes_with_the_gradient_of_the_whole_batch(
    make_tuner: MakeTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = make_tuner(dropout=0.0), make_tuner(dropout=0.0)
    one = whole.step()
    seen: list[int] = []

    def collated(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Batch:
        seen.append(len(sequences))
        return collate(sequences, device)

    monkeypatch.setattr(accumulation, "TRAINING_TOKENS", 20)
    monkeypatch.setattr(accumulation, "collate", collated)
    other = parts.step()
    assert len(seen) > 1
    assert sum(seen) == 8
    assert one.loss == pytest.approx(other.loss, rel=1e-4)
    assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)


def test_the_anchor_holds_the_factors_back(make_tuner: MakeTuner) -> None:
    free = make_tuner(schedule=Schedule(10, 10, 1e-2, 1e-4, 0.0, 0.0))
    held = make_tuner(schedule=Schedule(10, 10, 1e-2, 1e-4, 50.0, 0.0))
    steps(free, 10)
    steps(held, 10)
    assert held.drift() < 0.8 * free.drift()


def test_the_first_step_equals_adamw_by_hand(make_tuner: MakeTuner) -> None:
    """From zero moments AdamW moves each factor by η·g/(|g| + ε), whatever the clipping; weight decay is zero."""
    tuner = make_tuner(dropout=0.0)
    before = {name: parameter.detach().clone() for name, parameter in tuner._parameters.items()}
    tuner.step()
    for name, parameter in tuner._parameters.items():
        move = (parameter.detach() - before[name]).abs()
        assert float(move.max()) <= SCHEDULE.learning_rate * 1.001
        assert float(move.median()) == pytest.approx(SCHEDULE.learning_rate, rel=1e-2)


def test_steps_are_those_of_adam_in_float64(make_tuner: MakeTuner) -> None:
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


def test_the_penalty_is_that_of_the_equation_in_both_stages(make_tuner: MakeTuner) -> None:
    schedule = Schedule(6, 3, 1e-2, 1e-4, 0.5, 0.02)
    tuner = make_tuner(schedule=schedule, dropout=0.0)
    initial = {name: parameter.detach().double().clone() for name, parameter in tuner._parameters.items()}
    for step in range(6):
        steps(tuner, 1)
        squares = sum(float((p.detach().double() - initial[n]).square().sum()) for n, p in tuner._parameters.items())
        strength = 0.5 if step < 3 else 0.02
        assert tuner.penalty() == pytest.approx(strength / 2 * squares, rel=1e-5)
        assert tuner.drift() == pytest.approx(squares**0.5, rel=1e-5)


def test_a_non_finite_loss_names_step_and_batch_and_spoils_nothing(make_tuner: MakeTuner) -> None:
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
        self, make_tuner: MakeTuner, run: Callable[..., Ending], log: list[str]
    ) -> None:
        assert run(make_tuner(), 4, due_at=2) is Ending.FINISHED
        assert log == ["step 1", "step 2", "monitor 2", "checkpoint 2", "step 3", "step 4", "monitor 4"]

    def test_ends_as_soon_as_it_is_ready(
        self, make_tuner: MakeTuner, run: Callable[..., Ending], log: list[str]
    ) -> None:
        tuner = make_tuner()
        assert run(tuner, 20, ready_at=4) is Ending.READY
        assert tuner.step_count == 4
        assert log[-1] == "monitor 4"

    def test_nothing_is_left_to_do_after_the_last_step(
        self, make_tuner: MakeTuner, run: Callable[..., Ending], log: list[str]
    ) -> None:
        tuner = make_tuner()
        steps(tuner, 4)
        assert run(tuner, 4) is Ending.FINISHED
        assert log == []


def test_a_parameter_without_a_gradient_has_no_moments_to_resume(make_tuner: MakeTuner, tmp_path: Path) -> None:
    without_anchor = replace(SCHEDULE, anchor_strong=0.0, anchor_weak=0.0)

    def make() -> Tuner:
        tuner = make_tuner(schedule=without_anchor)
        next(iter(tuner._lora.layers.values())).is_bare = True  # as a projection that the model leaves out
        return tuner

    want = steps(make(), 5)
    first = make()
    before = steps(first, 3)
    first.save(tmp_path)
    resumed = make()
    assert resumed.restore(tmp_path)
    assert before + steps(resumed, 2) == want

    tensors = load_file(tmp_path / "state.safetensors")
    del tensors[next(name for name in tensors if name.endswith(".exp_avg"))]
    save_file(tensors, tmp_path / "state.safetensors")
    with pytest.raises(IntegrityError, match=r"lacks .*\.exp_avg$"):
        make_tuner(schedule=without_anchor).restore(tmp_path)


def test_a_state_without_its_random_numbers_is_damaged(make_tuner: MakeTuner, tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    tensors = load_file(tmp_path / "state.safetensors")
    del tensors["random.cpu"]
    save_file(tensors, tmp_path / "state.safetensors")
    with pytest.raises(IntegrityError, match=r"lacks random\.cpu"):
        make_tuner().restore(tmp_path)


def without_room(*_: object, **__: object) -> float:
    raise torch.OutOfMemoryError("tried to allocate 16 GiB")


def test_without_room_for_its_activations_a_step_is_made_again_and_computes_them_twice(
    make_tuner: MakeTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = steps(make_tuner(), 4)
    calls = 0

    def crowded(*arguments: Any, **named: Any) -> float:  # noqa: ANN401 - those of the function
        nonlocal calls
        calls += 1
        loss = accumulation.accumulate(*arguments, **named)  # gradients and random numbers are not as before
        if calls == 2:
            raise torch.OutOfMemoryError("tried to allocate 16 GiB")
        return loss

    monkeypatch.setattr("relora_trainer.tuning.accumulate", crowded)
    tuner = make_tuner()
    found = steps(tuner, 4)
    assert tuner._model.is_activation_checkpointing
    assert [step.loss for step in found] == pytest.approx([step.loss for step in want], rel=1e-6)
    assert [step.gradient_norm for step in found] == pytest.approx([step.gradient_norm for step in want], rel=1e-5)
    calls = 1  # the next one has no room either: the passes are halved
    tuner.step()
    assert (tuner._micro_batch_size, calls) == (4, 3)
    monkeypatch.setattr("relora_trainer.tuning.accumulate", without_room)
    with pytest.raises(torch.OutOfMemoryError):
        tuner.step()
    assert tuner._micro_batch_size == 1

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from relora_trainer.errors import IntegrityError
from relora_trainer.tuning import Tuner
from samples.tuners import SCHEDULE, bits, copy_task, make_classifier_tuner, make_tuner, steps


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interrupted_at", [0, 3, 6])
def test_a_resumed_run_ends_with_the_same_bits(
    tmp_path: Path, interrupted_at: int, dtype: torch.dtype, *, use_dora: bool
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


def test_a_resumed_classifier_ends_with_the_same_bits(tmp_path: Path) -> None:
    straight = make_classifier_tuner()
    want = steps(straight, 7)
    first = make_classifier_tuner()
    before = steps(first, 3)
    first.save(tmp_path)
    resumed = make_classifier_tuner()
    assert resumed.restore(tmp_path)
    assert before + steps(resumed, 4) == want
    assert bits(resumed) == bits(straight)


def test_without_the_random_state_the_bits_would_differ(tmp_path: Path) -> None:
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


def test_an_early_end_of_stage_1_survives_a_resume(tmp_path: Path) -> None:
    tuner = make_tuner()
    steps(tuner, 2)
    tuner.end_stage1()
    tuner.save(tmp_path)
    resumed = make_tuner()
    resumed.restore(tmp_path)
    assert resumed.schedule == tuner.schedule == SCHEDULE.with_stage1_ending_at(2)


def test_a_parameter_without_a_gradient_has_no_moments_to_resume(tmp_path: Path) -> None:
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


def test_the_state_is_safetensors_and_json(tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.safetensors", "state.json"}


def test_other_hardware_is_told_apart(tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    path = tmp_path / "state.json"
    state = json.loads(path.read_text())
    state["machine"]["threads"] += "0"
    path.write_text(json.dumps(state))
    assert not make_tuner().restore(tmp_path)


@pytest.mark.parametrize("damage", ["no json", "no tensors", "truncated", "missing", "shape"])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: str) -> None:
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


def test_a_state_without_its_random_numbers_is_damaged(tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    tensors = load_file(tmp_path / "state.safetensors")
    del tensors["random.cpu"]
    save_file(tensors, tmp_path / "state.safetensors")
    with pytest.raises(IntegrityError, match=r"lacks random\.cpu"):
        make_tuner().restore(tmp_path)


def test_the_state_of_other_examples_is_refused(tmp_path: Path) -> None:
    make_tuner().save(tmp_path)
    with pytest.raises(IntegrityError, match="other examples"):
        make_tuner(items=copy_task(32)).restore(tmp_path)

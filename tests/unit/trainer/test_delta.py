import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from relora_trainer.delta import compute_delta, open_delta
from relora_trainer.errors import IncompatibleError, IntegrityError, NonFiniteError, StoppedError
from relora_trainer.placement import Placement

Tensors = dict[str, torch.Tensor]


def base(seed: int = 0, layers: int = 2) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    tensors = {"model.embed_tokens.weight": torch.randn(50, 16, generator=generator)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        tensors[f"{prefix}.self_attn.q_proj.weight"] = torch.randn(16, 16, generator=generator)
        tensors[f"{prefix}.mlp.down_proj.weight"] = torch.randn(16, 40, generator=generator)
        tensors[f"{prefix}.input_layernorm.weight"] = torch.ones(16)
    tensors["model.norm.weight"] = torch.ones(16)
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


def folder(path: Path, tensors: Tensors) -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text('{"model_type": "llama"}')
    return path


def test_every_linear_of_the_blocks_and_nothing_else(tmp_path: Path) -> None:
    old, new = base(), {name: tensor + 0.5 for name, tensor in base().items()}
    modules = compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out", rank=64)
    assert set(modules) == {
        f"model.layers.{layer}.{name}" for layer in range(2) for name in ("self_attn.q_proj", "mlp.down_proj")
    }
    delta = open_delta(tmp_path / "out")
    assert delta.modules == modules
    factors = delta.factors(["model.layers.1.mlp.down_proj", "lm_head"])
    assert set(factors) == {"model.layers.1.mlp.down_proj"}
    name = "model.layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(
        factors["model.layers.1.mlp.down_proj"].dense(), new[name].float() - old[name].float(), atol=1e-4, rtol=1e-4
    )


def test_an_unchanged_module_has_rank_zero_and_no_tensors(tmp_path: Path) -> None:
    old, new = base(), base()
    name = "model.layers.0.self_attn.q_proj"
    new[f"{name}.weight"] = new[f"{name}.weight"] * 2
    modules = compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out")
    assert [module for module, described in modules.items() if described.rank] == [name]
    assert modules["model.layers.1.mlp.down_proj"].energy == 1.0
    assert set(open_delta(tmp_path / "out").factors(modules)) == {name}


def test_the_captured_energy_is_that_of_the_rank_that_is_used(tmp_path: Path) -> None:
    old, new = base(), base(1)
    same, ranks = (
        "model.layers.0.mlp.down_proj",
        {"model.layers.0.self_attn.q_proj": 3, "model.layers.1.mlp.down_proj": 8},
    )
    new[f"{same}.weight"] = old[f"{same}.weight"]
    compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out", rank=8)
    delta = open_delta(tmp_path / "out")
    energy = delta.captured_energy(delta.factors([*ranks, same]), {**ranks, same: 4})
    assert energy[same] == 1.0
    for name, rank in ranks.items():
        dense = new[f"{name}.weight"].double() - old[f"{name}.weight"].double()
        squares = torch.linalg.svdvals(dense).square()
        assert energy[name] == pytest.approx(float(squares[:rank].sum() / squares.sum()), rel=1e-5)
    above = delta.captured_energy(delta.factors(ranks), dict.fromkeys(ranks, 16))
    assert above == pytest.approx({name: delta.modules[name].energy for name in ranks}, rel=1e-5)


def test_the_subtraction_is_not_made_in_the_stored_precision(tmp_path: Path) -> None:
    old, new = base(), base()
    name = "model.layers.0.self_attn.q_proj"
    old[f"{name}.weight"], new[f"{name}.weight"] = torch.full((16, 16), 256.0), torch.full((16, 16), 256.125)
    compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out")
    dense = open_delta(tmp_path / "out").factors([name])[name].dense()
    torch.testing.assert_close(dense, torch.full((16, 16), 0.125))


@pytest.mark.parametrize(
    ("model_type", "name", "shape"),
    [
        ("llama", "model.layers.0.mlp.up_proj", (300, 200)),
        ("gpt2", "transformer.h.0.mlp.c_fc", (200, 300)),
    ],
)
def test_an_iteration_in_bfloat16_keeps_the_energy_of_one_in_float32(
    tmp_path: Path, model_type: str, name: str, shape: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    old, change = torch.randn(300, 200, generator=generator), torch.randn(300, 200, generator=generator)
    new = old + change * torch.arange(1, 201) ** -0.5
    for side, weight in (("a", old), ("b", new)):
        stored = folder(tmp_path / side, {f"{name}.weight": weight})
        (stored / "config.json").write_text(json.dumps({"model_type": model_type}))
    energies = []
    for dtype in (torch.float32, torch.bfloat16):
        placement, out = Placement(torch.device("cpu"), dtype), tmp_path / str(dtype)
        modules = compute_delta(tmp_path / "a", tmp_path / "b", out, rank=16, placement=placement)
        energies.append(modules[name].energy)
        assert open_delta(out).factors([name])[name].dense().shape == shape
    assert energies[1] == pytest.approx(energies[0], rel=1e-4)
    assert energies[1] != energies[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["old", "new", "both"])
def test_non_finite_weights_are_named(tmp_path: Path, value: float, side: str) -> None:
    old, new = base(0), base(1)
    name = "model.layers.1.mlp.down_proj.weight"
    for tensors in {"old": [old], "new": [new], "both": [old, new]}[side]:
        tensors[name][3, 3] = value
    with pytest.raises(NonFiniteError, match=name):
        compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out")


def test_other_shapes_and_names_are_listed(tmp_path: Path) -> None:
    old, new = base(), base()
    new["model.layers.0.mlp.down_proj.weight"] = torch.ones(16, 48)
    new["model.layers.0.self_attn.qkv_proj.weight"] = new.pop("model.layers.0.self_attn.q_proj.weight")
    with pytest.raises(IncompatibleError) as raised:
        compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out")
    assert "q_proj.weight is gone" in str(raised.value)
    assert "qkv_proj.weight is new" in str(raised.value)
    assert "was [16, 40] and is [16, 48]" in str(raised.value)


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="and 4 more"):
        compute_delta(folder(tmp_path / "a", base(layers=4)), folder(tmp_path / "b", base(layers=1)), tmp_path / "out")


def test_a_new_head_or_vocabulary_is_not_the_deltas_concern(tmp_path: Path) -> None:
    old, new = base(), base()
    new["lm_head.weight"] = torch.ones(60, 16)
    new["model.embed_tokens.weight"] = torch.ones(60, 16)
    compute_delta(folder(tmp_path / "a", old), folder(tmp_path / "b", new), tmp_path / "out")


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    tensors = {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.ones(4, 4)}
    with pytest.raises(IncompatibleError, match="unknown architecture"):
        compute_delta(folder(tmp_path / "a", tensors), folder(tmp_path / "b", tensors), tmp_path / "out")


def test_an_interrupted_run_continues_after_the_blocks_that_are_done(tmp_path: Path) -> None:
    old, new = folder(tmp_path / "a", base(0)), folder(tmp_path / "b", base(1))
    seen: list[str] = []

    def stop_in_the_second_block(name: str, done: int, total: int) -> None:
        seen.append(name)
        assert total == 4
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_delta(old, new, tmp_path / "out", progress=stop_in_the_second_block)
    seen_after: list[str] = []
    resumed = compute_delta(old, new, tmp_path / "out", progress=lambda name, *_: seen_after.append(name))
    assert len(seen) == 3
    assert all("layers.1" in name for name in seen_after)
    assert len(seen_after) == 2
    assert resumed == compute_delta(old, new, tmp_path / "whole")
    for block in ("block-00000.safetensors", "block-00001.safetensors"):
        assert (tmp_path / "out" / block).read_bytes() == (tmp_path / "whole" / block).read_bytes()


class StopAt:
    """Checkpoints that are due after every module, and end the run at one of them."""

    def __init__(self, module: int) -> None:
        self.left = module

    def restore(self, conditions: Mapping[str, str], machine: Mapping[str, str]) -> Path:
        raise AssertionError

    def is_due(self) -> bool:
        return True

    def save(self) -> None:
        self.left -= 1
        if not self.left:
            raise StoppedError("stopped")


@pytest.mark.parametrize("module", [1, 2, 3, 4])
def test_a_checkpoint_loses_no_module(tmp_path: Path, module: int) -> None:
    old, new = folder(tmp_path / "a", base(0)), folder(tmp_path / "b", base(1))
    with pytest.raises(StoppedError):
        compute_delta(old, new, tmp_path / "out", checkpoints=StopAt(module))
    seen: list[int] = []
    resumed = compute_delta(old, new, tmp_path / "out", progress=lambda _, done, __: seen.append(done))
    assert seen == list(range(module + 1, 5))
    assert resumed == compute_delta(old, new, tmp_path / "whole")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "whole")]
    assert files[0] == files[1]


def test_an_artifact_without_its_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"delta\.json"):
        open_delta(tmp_path)
    (tmp_path / "delta.json").write_text(json.dumps({"modules": {"a": {"rank": 1}}}))
    with pytest.raises(IntegrityError, match=r"delta\.json"):
        open_delta(tmp_path)


PEAK = """
import sys, torch
from pathlib import Path
from relora_trainer.delta import compute_delta
torch.set_num_threads(1)
peaks = []
for old, new, out in (sys.argv[1:4], sys.argv[4:7]):
    compute_delta(Path(old), Path(new), Path(out))
    status = Path("/proc/self/status").read_text()  # getrusage would tell the peak of pytest, if that is higher
    peaks.append(int(status.split("VmHWM:")[1].split()[0]))
print(peaks[1] - peaks[0])
"""


def test_peak_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    arguments = []
    for layers in (2, 14):
        for side in "ab":
            tensors = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(512, 512) for i in range(layers)}
            arguments.append(str(folder(tmp_path / f"{side}{layers}", tensors)))
        arguments.append(str(tmp_path / f"out{layers}"))
    run = subprocess.run([sys.executable, "-c", PEAK, *arguments], check=True, capture_output=True, text=True)
    model_growth_kib = 12 * 2 * 1024
    assert int(run.stdout) < model_growth_kib / 4


def test_peak_memory_is_that_of_two_tensors(tmp_path: Path) -> None:
    """Beyond what a first small pair takes, which loads the libraries' code."""
    arguments = []
    for size in (16, 4096):
        for side in "ab":
            tensors = {"model.layers.0.mlp.up_proj.weight": torch.randn(size, size).bfloat16()}
            arguments.append(str(folder(tmp_path / f"{side}{size}", tensors)))
        arguments.append(str(tmp_path / f"out{size}"))
    run = subprocess.run([sys.executable, "-c", PEAK, *arguments], check=True, capture_output=True, text=True)
    two_tensors_kib = 2 * 4096**2 * 4 // 1024
    assert int(run.stdout) < two_tensors_kib

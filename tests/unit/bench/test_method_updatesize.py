"""How large an update is, from the weights of two bases."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.method.chain import HARD, Chain
from bench.method.updatesize import relative_change, rows
from relora_trainer.errors import IncompatibleError

BLOCK = "model.layers.0.mlp"


def base(folder: Path, **tensors: Tensor) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    names = {"up": f"{BLOCK}.up_proj.weight", "down": f"{BLOCK}.down_proj.weight", "norm": f"{BLOCK}.norm.weight"}
    named = {names.get(name, f"{name}.weight"): tensor for name, tensor in tensors.items()}
    save_file(named, folder / "model.safetensors")
    return folder


def test_the_change_is_that_of_all_linear_weights_together(tmp_path: Path) -> None:
    norm, embedding = torch.ones(2), torch.ones(3, 2)
    old = base(tmp_path / "old", up=3 * torch.eye(2), down=4 * torch.eye(2), norm=norm, embedding=embedding)
    new = base(tmp_path / "new", up=3 * torch.eye(2), down=4 * torch.eye(2) + 1, norm=9 * norm, embedding=9 * embedding)
    assert relative_change(old, new) == pytest.approx((4 / (2 * 9 + 2 * 16)) ** 0.5)
    chain = Chain("toy", HARD, old, new, Path("adapter"), Path("data"))
    assert [(row.name, row.unit) for row in rows([chain])] == [
        ("hard update: ‖ΔW‖ ÷ ‖W‖ over the linear weights of the blocks", "%")
    ]


def test_weights_that_stay_change_nothing(tmp_path: Path) -> None:
    old, new = (base(tmp_path / name, up=torch.eye(2, dtype=torch.bfloat16)) for name in ("old", "new"))
    assert relative_change(old, new) == 0


def test_bases_of_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError):
        relative_change(base(tmp_path / "old", up=torch.eye(2)), base(tmp_path / "new", up=torch.eye(3)))

"""The class head in a classifier's adapter: read, written again, and refused where it does not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from relora_trainer.adapter import read_adapter, write_adapter
from relora_trainer.errors import ConfigurationError, IncompatibleError, IntegrityError, NonFiniteError, TrainerError
from relora_trainer.heads import Head
from samples.peft_adapters import edit_tensors, linears, saved_by_peft
from samples.tinymodels import tiny_classifier

MakeBase = Callable[..., LlamaForCausalLM]
CLASSES = ("low", "middle", "high")
HEAD = "base_model.model.score.weight"


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    saved_by_peft(tmp_path / "classifier", tiny_classifier(len(CLASSES)), task_type="SEQ_CLS")
    return tmp_path / "classifier"


def test_a_classifier_is_read_and_written_with_its_head(classifier: Path, make_base: MakeBase, tmp_path: Path) -> None:
    """PEFT names both heads that a model may have, trains factors in float32 and the head in the base's precision."""
    assert set(json.loads((classifier / "adapter_config.json").read_text())["modules_to_save"]) == {
        "classifier",
        "score",
    }
    edit_tensors(classifier, lambda tensors: tensors.update({HEAD: tensors[HEAD].bfloat16()}))
    adapter = read_adapter(classifier, linears(make_base()), CLASSES)
    assert adapter.head is not None
    assert (adapter.head.name, adapter.head.dtype, adapter.dtype) == ("score", torch.bfloat16, torch.float32)
    assert adapter.head.weight.dtype is torch.float32
    write_adapter(
        tmp_path / "out",
        adapter.factors,
        source=adapter.settings,
        dtype=adapter.dtype,
        base_model="b",
        head=adapter.head,
    )
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (written["task_type"], written["modules_to_save"]) == ("SEQ_CLS", ["score"])
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert torch.equal(stored[HEAD], load_file(classifier / "adapter_model.safetensors")[HEAD])
    served = PeftModel.from_pretrained(tiny_classifier(len(CLASSES)), tmp_path / "out")
    assert torch.equal(served.base_model.model.score.weight, adapter.head.weight)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda t: t.pop(HEAD), IntegrityError, "no class head .*score.weight.*task_type SEQ_CLS"),
        (lambda t: t[HEAD].__setitem__((0, 0), float("inf")), NonFiniteError, "score.weight"),
        (lambda t: t.update({HEAD: torch.ones(3)}), IntegrityError, r"shape \[3\]; a head is a matrix"),
        (lambda t: t.update({HEAD: torch.ones(2, 32)}), ConfigurationError, "2 rows .* 3 classes"),
        (lambda t: t.update({HEAD: torch.ones(3, 32, dtype=torch.float64)}), IntegrityError, "float64"),
        (lambda t: t.update({"base_model.model.score.bias": torch.ones(3)}), IncompatibleError, "bias"),
        (lambda t: t.update({"base_model.model.classifier.weight": torch.ones(3, 32)}), TrainerError, "classifier"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    classifier: Path,
    make_base: MakeBase,
    edit: Callable[[dict[str, torch.Tensor]], object],
    error: type[TrainerError],
    message: str,
) -> None:
    edit_tensors(classifier, edit)
    with pytest.raises(error, match=message):
        read_adapter(classifier, linears(make_base()), CLASSES)


def test_a_head_that_overflows_its_precision_is_not_written(
    classifier: Path, make_base: MakeBase, tmp_path: Path
) -> None:
    adapter = read_adapter(classifier, linears(make_base()), CLASSES)
    huge = Head("score", torch.full((3, 32), 1e6), torch.float16)
    with pytest.raises(NonFiniteError, match=r"score\.weight is NaN or infinite in torch\.float16"):
        write_adapter(
            tmp_path / "out",
            adapter.factors,
            source=adapter.settings,
            dtype=adapter.dtype,
            base_model="b",
            head=huge,
        )

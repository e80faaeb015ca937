import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from relora_contract.task import Task
from relora_trainer.errors import ConfigurationError, IntegrityError
from relora_trainer.loading import most_positions
from relora_trainer.placement import Placement
from relora_trainer.session import open_session

TASK = Task(kind="CausalLM", prompt_template="{text}:", completion_field="label", choices=["low", "high"])


def test_a_session_begins_without_dropout(
    tmp_path: Path, make_base: Callable[..., LlamaForCausalLM], tokenizer: PreTrainedTokenizerFast
) -> None:
    make_base().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    placement = Placement(torch.device("cpu"), torch.float32)
    session = open_session(tmp_path, {"model.layers.0.self_attn.q_proj": 4}, TASK, placement, dropout=0.5)
    assert not any(module.training for module in session.model.modules())


@pytest.mark.parametrize("kind", ["CausalLM", "SequenceClassification"])
def test_a_base_that_lacks_a_weight_is_refused_instead_of_filled_with_random_numbers(
    tmp_path: Path, make_base: Callable[..., LlamaForCausalLM], tokenizer: PreTrainedTokenizerFast, kind: str
) -> None:
    make_base().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    task = TASK.model_copy(update={"kind": kind})
    placement = Placement(torch.device("cpu"), torch.float32)
    open_session(tmp_path, {}, task, placement)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=r"the base has no weight 'model\.norm\.weight' \(1 are missing\)"):
        open_session(tmp_path, {}, task, placement)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 63}, "cannot load the weights of the base: RuntimeError"),
        ({"hidden_size": "x"}, "cannot load the"),
    ],
)
def test_a_base_whose_configuration_does_not_fit_is_refused(
    tmp_path: Path,
    make_base: Callable[..., LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerFast,
    change: dict[str, object],
    message: str,
) -> None:
    make_base().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(IntegrityError, match=message):
        open_session(tmp_path, {}, TASK, Placement(torch.device("cpu"), torch.float32))


def test_an_example_is_no_longer_than_the_base_has_positions(
    tmp_path: Path, make_base: Callable[..., LlamaForCausalLM], tokenizer: PreTrainedTokenizerFast
) -> None:
    make_base().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    placement = Placement(torch.device("cpu"), torch.float32)
    assert open_session(tmp_path, {}, TASK, placement).encoder.max_length == 128
    (tmp_path / "model.safetensors").unlink()  # it is not loaded
    long = TASK.model_copy(update={"max_length": 129})
    with pytest.raises(ConfigurationError, match=r"task\.maxLength is 129, and the base reads at most 128 tokens"):
        open_session(tmp_path, {}, long, placement)


@pytest.mark.parametrize(
    ("scaling", "positions"),
    [
        ({"rope_type": "default"}, 32_768),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}, 131_072),
        ({"rope_type": "linear", "factor": 2.0}, 65_536),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8_192}, 32_768),
    ],
)
def test_stretched_positions_are_counted_as_they_are_read(scaling: dict[str, object], positions: int) -> None:
    config = LlamaConfig(max_position_embeddings=32_768)
    config.rope_parameters = {"rope_theta": 10_000.0, **scaling}
    assert most_positions(config) == positions

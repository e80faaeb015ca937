from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from relora_contract.task import Task
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

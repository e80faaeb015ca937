"""A loaded base with LoRA layers: made once per step, shared by probes, training and evaluation."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from relora_contract.task import Task
from relora_trainer.errors import IntegrityError
from relora_trainer.generation import generative_outcomes
from relora_trainer.heads import pad_token
from relora_trainer.items import Encoder, ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.outcomes import Outcome
from relora_trainer.placement import Placement
from relora_trainer.scoring import Scorer

LOG = logging.getLogger(__name__)
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Session:
    """A frozen base whose LoRA layers hold any candidate's factors."""

    model: PreTrainedModel
    lora: LoraModel
    encoder: Encoder
    scorer: Scorer

    def outcomes(self, items: ItemSet, progress: Callable[[int, int], None] | None = None) -> list[Outcome]:
        """Return what the model answers to each example."""
        if items.choices:
            return self.scorer.outcomes(items, progress)
        return generative_outcomes(self.model, self.scorer, self.encoder, items, progress)


def open_session(
    base: Path,
    ranks: Mapping[str, int],
    task: Task,
    placement: Placement,
    *,
    dropout: float = 0.0,
    use_dora: bool = False,
) -> Session:
    """Load a base and wrap the modules that `ranks` names; a classifier's head is random until it is set.

    Raises:
        IncompatibleError: A module is not a linear module of the base, or it classifies in another way.
        IntegrityError: The base cannot be loaded by transformers.
    """
    LOG.info("loading the base (%s)", placement)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False, local_files_only=True)
        model = _load(base, task, placement)
    except (OSError, ValueError, KeyError) as error:
        raise IntegrityError(f"transformers cannot load the base: {type(error).__name__}") from error
    torch.nn.Module.to(model, placement.device)
    model.generation_config = GenerationConfig()  # a release's sampling settings would change what is greedy
    lora = LoraModel(model, ranks, dropout=dropout, use_dora=use_dora, with_head=task.is_classification)
    model.eval()
    encoder = Encoder(
        tokenizer,
        task.choices,
        task.effective_max_length,
        is_chat=task.messages is not None,
        is_classifier=task.is_classification,
        pad=pad_token(model),
    )
    return Session(model, lora, encoder, Scorer(model, batch_size=EVALUATION_BATCH))


def _load(base: Path, task: Task, placement: Placement) -> PreTrainedModel:
    """Load a base as what the task asks for; the head of a classifier has a row for each choice."""
    settings = {
        "dtype": placement.dtype,
        "attn_implementation": placement.attention,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
    }
    model: PreTrainedModel
    if task.is_classification:
        settings["num_labels"] = len(task.classes)
        model = AutoModelForSequenceClassification.from_pretrained(base, **settings)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, **settings)
    return model

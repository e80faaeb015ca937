"""A base as transformers loads it. What it would not load, or would fill with random numbers, is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from relora_contract.task import Task
from relora_trainer.errors import IntegrityError
from relora_trainer.heads import NAMES as HEADS
from relora_trainer.placement import Placement


def read_configuration(base: Path) -> PreTrainedConfig:
    """Return the configuration of a base with every default of its architecture.

    Raises:
        IntegrityError: It is invalid, or of an architecture that transformers does not know.
    """
    with _refusing("configuration"):
        found: PreTrainedConfig = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
    return found


def most_positions(config: PreTrainedConfig) -> int | None:
    """Return how many tokens a model reads at most; None where its configuration does not say.

    Where rotary positions are stretched, `max_position_embeddings` is the number before that or after it.
    """
    text = config.get_text_config()
    positions: int | None = getattr(text, "max_position_embeddings", None)
    scaling = getattr(text, "rope_parameters", None)
    if positions is None or not isinstance(scaling, dict):
        return positions
    is_before = scaling.get("original_max_position_embeddings", positions) == positions
    return int(positions * max(1.0, float(scaling.get("factor") or 1))) if is_before else positions


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base.

    Raises:
        IntegrityError: transformers cannot load it.
    """
    with _refusing("tokenizer"):
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            base, trust_remote_code=False, local_files_only=True
        )
    return found


def load_model(base: Path, task: Task, placement: Placement) -> PreTrainedModel:
    """Return a base as what the task asks for, on the CPU; the head of a classifier has a row for each choice.

    Raises:
        IntegrityError: transformers cannot load it, or a weight but the classifier's head is in no file: what
            transformers puts there is random.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    settings = {
        "dtype": placement.dtype,
        "attn_implementation": placement.attention,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
        "output_loading_info": True,
    }
    if task.is_classification:
        settings["num_labels"] = len(task.classes)
    kind: Any = AutoModelForSequenceClassification if task.is_classification else AutoModelForCausalLM
    model: PreTrainedModel
    with _refusing("weights"):
        model, told = kind.from_pretrained(base, **settings)
    heads = HEADS if task.is_classification else ()
    if lacking := sorted(name for name in told["missing_keys"] if name.split(".", maxsplit=1)[0] not in heads):
        raise IntegrityError(f"the base has no weight {lacking[0]!r} ({len(lacking)} are missing): publish it whole")
    return model


@contextmanager
def _refusing(part: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, StrictDataclassError) as error:
        raise IntegrityError(f"transformers cannot load the {part} of the base: {type(error).__name__}") from error

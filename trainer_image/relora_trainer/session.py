"""A loaded base with LoRA layers: made once per step, shared by probes, training and evaluation."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from relora_contract.task import Task
from relora_trainer.errors import ConfigurationError
from relora_trainer.generation import generative_outcomes
from relora_trainer.heads import pad_token
from relora_trainer.items import Encoder, ItemSet
from relora_trainer.loading import load_model, load_tokenizer, most_positions, read_configuration
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
    check: Callable[[Encoder], None] | None = None,
) -> Session:
    """Load a base and wrap the modules that `ranks` names; a classifier's head is random until it is set.

    Args:
        base: Its folder.
        ranks: By module.
        task: What the base is loaded as, and what its tokenizer is asked for.
        placement: Where the model computes, and in which precision.
        dropout: Of the LoRA layers.
        use_dora: Whether they have magnitudes.
        check: Called before the weights are loaded, with what will tokenise the examples.

    Raises:
        ConfigurationError: The base does not take so long examples, or its tokenizer lacks what the task needs.
        IncompatibleError: A module is not a linear module of the base, or it classifies in another way.
        IntegrityError: The base cannot be loaded by transformers, or is not whole.
    """
    encoder = _encoder(base, task)
    if check is not None:
        check(encoder)
    LOG.info("loading the base (%s)", placement)
    model = load_model(base, task, placement)
    torch.nn.Module.to(model, placement.device)
    model.generation_config = GenerationConfig()  # a release's sampling settings would change what is greedy
    lora = LoraModel(model, ranks, dropout=dropout, use_dora=use_dora, with_head=task.is_classification)
    model.eval()
    return Session(model, lora, encoder, Scorer(model, batch_size=EVALUATION_BATCH))


def _encoder(base: Path, task: Task) -> Encoder:
    config = read_configuration(base)
    return Encoder(
        load_tokenizer(base),
        task.choices,
        _max_length(task, config),
        is_chat=task.messages is not None,
        is_classifier=task.is_classification,
        pad=pad_token(config),
    )


def _max_length(task: Task, config: PreTrainedConfig) -> int:
    """Return the most tokens of an example: what the task says, and no more than the base has positions.

    Raises:
        ConfigurationError: The task says more than that.
    """
    positions = most_positions(config)
    if positions is None:
        return task.effective_max_length
    if task.max_length is not None and task.max_length > positions:
        raise ConfigurationError(
            f"task.maxLength is {task.max_length}, and the base reads at most {positions} tokens "
            "(max_position_embeddings of its config.json): lower it"
        )
    return min(task.effective_max_length, positions)

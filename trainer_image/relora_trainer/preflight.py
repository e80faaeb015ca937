"""Checks that cost no model load: do the two bases and their tokenizers fit together?

Only headers and JSON files are read. A refusal names what differs, so that its reader knows what to change.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from relora_contract.task import Gate, Task
from relora_trainer.blocks import BaseWeights, check_same_blocks, open_base, read_json
from relora_trainer.errors import ConfigurationError, IncompatibleError
from relora_trainer.tokenizer_rules import check_tokenizers

CONFIG_KEYS = (
    "architectures",
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
)
"""Fields of config.json that two releases of one family must share."""
ANOTHER_VOCABULARY = (
    "adapters and prompts hold for one vocabulary: release the base with that of its predecessor, unused rows "
    "included, or as another model, whose adapters are trained on it"
)


def check_task(task: Task) -> None:
    """Check what the API server has checked of a binding's task, for requests that come from elsewhere.

    Raises:
        ConfigurationError: A classification names no classes, or its prompt is a chat.
    """
    if task.is_classification and not task.choices:
        raise ConfigurationError("task.choices: name the classes, one for each row of the adapter's head")
    if task.is_classification and task.messages is not None:
        raise ConfigurationError("task.messages: SequenceClassification reads a promptTemplate")


def check_metrics(task: Task, gates: Sequence[Gate]) -> None:
    """Check that every gate measures what the task has.

    Raises:
        ConfigurationError: A metric needs a closed label set and there is none, or the other way round.
    """
    for gate in gates:
        if gate.metric not in task.metrics:
            kind = "a task with choices" if task.choices else "a task without choices"
            raise ConfigurationError(
                f"gates: {gate.metric} cannot be measured of {kind}; use {' or '.join(task.metrics)}"
            )


def check_bases(old: Path, new: Path) -> BaseWeights:
    """Compare two base folders and return the weights of the new one.

    Raises:
        IncompatibleError: Architecture, shapes or tokenizer differ.
        IntegrityError: A file is missing or damaged.
    """
    before, after = read_json(old / "config.json"), read_json(new / "config.json")
    if any(before.get(key) != after.get(key) for key in CONFIG_KEYS):
        before, after = _with_defaults(old, before), _with_defaults(new, after)
    differing = [key for key in CONFIG_KEYS if before.get(key) != after.get(key)]
    if differing:
        changes = "; ".join(f"{key} was {before.get(key)} and is {after.get(key)}" for key in differing)
        remedy = f"; {ANOTHER_VOCABULARY}" if "vocab_size" in differing else ""
        raise IncompatibleError(f"the two bases have different configurations: {changes}{remedy}")
    weights = open_base(new)
    check_same_blocks(open_base(old), weights)
    check_tokenizers(old, new)
    return weights


def _with_defaults(base: Path, config: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a base's configuration with what its architecture takes for those that it leaves out.

    What one version of transformers leaves out because it is the default, another one writes.

    Raises:
        IntegrityError: transformers does not take the configuration.
    """
    from relora_trainer.loading import read_configuration  # noqa: PLC0415 - takes seconds, and most pairs need none

    whole = read_configuration(base)
    given = {key: config.get(key) for key in CONFIG_KEYS}
    return {key: getattr(whole, key, None) if value is None else value for key, value in given.items()}

"""Checks that cost no model load: do the two bases and their tokenizers fit together?

Only headers and JSON files are read. A refusal names what differs, so that its reader knows what to change.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from relora_contract.task import Gate, Task
from relora_trainer.blocks import BaseWeights, check_same_blocks, open_base, read_json
from relora_trainer.errors import ConfigurationError, IncompatibleError, IntegrityError

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
TOKENIZER_PARTS = ("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor")
"""Parts of tokenizer.json that decide what becomes of a text."""
SHOWN = 3
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


def check_tokenizers(old: Path, new: Path) -> None:
    """Compare what two tokenizers make of a text: vocabulary, merges, added tokens, normalizer, pre-tokenizer.

    Raises:
        IncompatibleError: They differ; the message names the first tokens or parts that do.
        IntegrityError: A tokenizer.json is missing or damaged.
    """
    before, after = read_json(old / "tokenizer.json"), read_json(new / "tokenizer.json")
    if any(before.get(part) != after.get(part) for part in TOKENIZER_PARTS):
        before, after = _rewritten(old / "tokenizer.json"), _rewritten(new / "tokenizer.json")
    changed = _changed_tokens(_vocabulary(before), _vocabulary(after))
    if changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise IncompatibleError(f"the tokenizers differ in {', '.join(changed[:SHOWN])}{more}")
    for part in TOKENIZER_PARTS:
        if before.get(part) != after.get(part):
            raise IncompatibleError(f"the tokenizers differ in {part!r} of tokenizer.json")


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


def _rewritten(path: Path) -> dict[str, object]:
    """Return a tokenizer.json in the form of today's library: older ones lack fields, or write them otherwise.

    Raises:
        IntegrityError: It is no tokenizer that the library can read.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    try:
        found: dict[str, object] = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception as error:  # the library raises nothing more specific
        raise IntegrityError(f"{path.name} of the base is no tokenizer: {type(error).__name__}") from error
    return found


def chat_template_warnings(task: Task, old: Path, new: Path) -> list[str]:
    """Compare the chat templates of two base folders, if the task is a chat.

    Another template is no reason to refuse: it is the new base's, and training learns it.

    Raises:
        IntegrityError: A tokenizer_config.json is damaged.
    """
    if task.messages is None or _chat_template(old) == _chat_template(new):
        return []
    told = (
        "the chat templates of the two bases differ: the old adapter was trained on prompts in the form of the old one"
    )
    return [f"{told}, and is asked in that of the new one on the new base"]


def _chat_template(base: Path) -> object:
    """Return the template as it is stored: in a file of its own, or in the older place."""
    if (base / "chat_template.jinja").is_file():
        return (base / "chat_template.jinja").read_text(encoding="utf-8", errors="replace")
    stored = base / "tokenizer_config.json"
    return read_json(stored).get("chat_template") if stored.is_file() else None


def _vocabulary(tokenizer: Mapping[str, object]) -> dict[str, object]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        return vocabulary
    if isinstance(vocabulary, list):
        return {str(entry[0]): index for index, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    return {}


def _changed_tokens(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    gone = [f"{token!r} (gone)" for token in sorted(before.keys() - after.keys())]
    new = [f"{token!r} (new)" for token in sorted(after.keys() - before.keys())]
    moved = [
        f"{token!r} (id {before[token]} became {after[token]})"
        for token in sorted(before.keys() & after.keys())
        if before[token] != after[token]
    ]
    return gone + new + moved

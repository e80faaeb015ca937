"""Checks that cost no model load: do the two bases and their tokenizers fit together?

Only headers and JSON files are read. A refusal names what differs, so that its reader knows what to change.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from relora_trainer.delta import check_same_architecture
from relora_trainer.errors import IncompatibleError, IntegrityError
from relora_trainer.tensorfile import TensorEntry, open_model

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
SHOWN = 3


def check_bases(old: Path, new: Path) -> dict[str, TensorEntry]:
    """Compare two base folders and return the tensors of the new one.

    Raises:
        IncompatibleError: Architecture, shapes or tokenizer differ.
        IntegrityError: A file is missing or damaged.
    """
    before, after = _json(old / "config.json"), _json(new / "config.json")
    differing = [key for key in CONFIG_KEYS if before.get(key) != after.get(key)]
    if differing:
        changes = "; ".join(f"{key} was {before.get(key)} and is {after.get(key)}" for key in differing)
        raise IncompatibleError(f"the two bases have different configurations: {changes}")
    tensors = open_model(new)
    check_same_architecture(open_model(old), tensors)
    check_tokenizers(old, new)
    return tensors


def check_tokenizers(old: Path, new: Path) -> None:
    """Compare what two tokenizers make of a text: vocabulary, merges, added tokens, normalizer, pre-tokenizer.

    Raises:
        IncompatibleError: They differ; the message names the first tokens or parts that do.
        IntegrityError: A tokenizer.json is missing or damaged.
    """
    before, after = _json(old / "tokenizer.json"), _json(new / "tokenizer.json")
    changed = _changed_tokens(_vocabulary(before), _vocabulary(after))
    if changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise IncompatibleError(f"the tokenizers differ in {', '.join(changed[:SHOWN])}{more}")
    for part in ("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"):
        if before.get(part) != after.get(part):
            raise IncompatibleError(f"the tokenizers differ in {part!r} of tokenizer.json")


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


def _json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise IntegrityError(f"the base has no {path.name}") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path.name} of the base is not JSON") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{path.name} of the base is not a JSON object")
    return value

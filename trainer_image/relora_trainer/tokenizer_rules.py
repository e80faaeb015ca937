"""What the tokenizers of two releases must share, and what is only told when it differs.

Only JSON files are read. A refusal names what differs, so that its reader knows what to change.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from relora_contract.task import Task
from relora_trainer.blocks import read_json
from relora_trainer.errors import IncompatibleError, IntegrityError

PARTS = ("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor")
"""Parts of tokenizer.json that decide what becomes of a text."""
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""Where the special tokens are named, the older place last."""
SHOWN = 3


def check_tokenizers(old: Path, new: Path) -> None:
    """Compare what the tokenizers of two base folders make of a text.

    Raises:
        IncompatibleError: They differ; the message names the first tokens, merges or parts that do.
        IntegrityError: A tokenizer.json is missing or damaged.
    """
    before, after = read_json(old / "tokenizer.json"), read_json(new / "tokenizer.json")
    if any(before.get(part) != after.get(part) for part in PARTS):
        before, after = _rewritten(old / "tokenizer.json"), _rewritten(new / "tokenizer.json")
    changed = _changed_tokens(_vocabulary(before), _vocabulary(after)) or _changed_merges(
        _merges(before), _merges(after)
    )
    if changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise IncompatibleError(f"the tokenizers differ in {', '.join(changed[:SHOWN])}{more}")
    for part in PARTS:
        if before.get(part) != after.get(part):
            raise IncompatibleError(f"the tokenizers differ in {part!r} of tokenizer.json")


def tokenizer_warnings(task: Task, old: Path, new: Path) -> list[str]:
    """Say what the tokenizers of two base folders do otherwise: no reason to refuse, since training can learn it.

    Raises:
        IntegrityError: A file of settings is damaged.
    """
    if task.is_classification:
        return []
    return _end_warnings(old, new) if task.messages is None else _chat_warnings(old, new)


def _chat_warnings(old: Path, new: Path) -> list[str]:
    warnings, template = [], _chat_template(new)
    if _chat_template(old) != template:
        warnings.append(
            "the chat templates of the two bases differ: the old adapter was trained on prompts in the form of the old "
            "one, and is asked in that of the new one on the new base"
        )
    if isinstance(template, str) and _writes_the_time(template):
        warnings.append(
            "the chat template of the new base writes the time into its prompts: steps that run on different days read "
            "different ones"
        )
    return warnings


def _end_warnings(old: Path, new: Path) -> list[str]:
    before, after = _special_token(old, "eos_token"), _special_token(new, "eos_token")
    if before is None or after is None or before == after:
        return []
    told = "the end-of-sequence tokens of the two bases differ: the old adapter learned to end its answers with"
    return [f"{told} {before!r}, and is asked for {after!r} on the new base"]


def _rewritten(path: Path) -> dict[str, object]:
    """Return a tokenizer.json in the form of today's library: older ones lack fields, or write them otherwise.

    Raises:
        IntegrityError: It is no tokenizer that the library can read.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - takes seconds, and most pairs need none

    try:
        found: dict[str, object] = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception as error:  # the library raises nothing more specific
        raise IntegrityError(f"{path.name} of the base is no tokenizer: {type(error).__name__}") from error
    return found


def _chat_template(base: Path) -> object:
    """Return the template as it is stored: in a file of its own, or in the older place."""
    if (base / "chat_template.jinja").is_file():
        return (base / "chat_template.jinja").read_text(encoding="utf-8", errors="replace")
    stored = base / "tokenizer_config.json"
    return read_json(stored).get("chat_template") if stored.is_file() else None


def _writes_the_time(template: str) -> bool:
    """Tell whether a template asks for the time and cannot be given a date."""
    return "strftime_now" in template and "date_string" not in template


def _special_token(base: Path, name: str) -> str | None:
    """Return a special token's text; None where no file names it, and the tokenizer's class has a default."""
    for stored in filter(Path.is_file, (base / settings for settings in SETTINGS)):
        token = read_json(stored).get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            return text
    return None


def _vocabulary(tokenizer: Mapping[str, object]) -> dict[str, object]:
    """Return the id of every token; special ones may stand among the added ones alone."""
    model = tokenizer.get("model")
    stored = model.get("vocab") if isinstance(model, dict) else None
    found: dict[str, object] = {}
    if isinstance(stored, dict):
        found = dict(stored)
    if isinstance(stored, list):
        found = {str(entry[0]): index for index, entry in enumerate(stored) if isinstance(entry, list) and entry}
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict):
            found[str(token.get("content"))] = token.get("id")
    return found


def _changed_tokens(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    gone = [f"{token!r} (gone)" for token in sorted(before.keys() - after.keys())]
    new = [f"{token!r} (new)" for token in sorted(after.keys() - before.keys())]
    moved = [
        f"{token!r} (id {before[token]} became {after[token]})"
        for token in sorted(before.keys() & after.keys())
        if before[token] != after[token]
    ]
    return gone + new + moved


def _merges(tokenizer: Mapping[str, object]) -> Sequence[object]:
    model = tokenizer.get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    return merges if isinstance(merges, list) else ()


def _changed_merges(before: Sequence[object], after: Sequence[object]) -> list[str]:
    """Return the first merge that differs, if one does; those after it are moved at the least."""
    for place, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            return [f"merge {place} ({old!r} became {new!r})"]
    return [] if len(before) == len(after) else [f"the number of merges ({len(before)} became {len(after)})"]

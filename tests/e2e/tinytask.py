"""A task for models of random weights: its examples need one token per character."""

import json
import random

from e2e.clusterapi import Json

_CHOICES = ("animal", "plant")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TEXT_LETTERS = 12


def task_fields() -> Json:
    """Return `spec.task` of a binding for the data of `examples`, without the dataset."""
    return {
        "kind": "CausalLM",
        "promptTemplate": "{text}\nkind:\n",
        "completionField": "label",
        "choices": list(_CHOICES),
        "maxLength": 64,
    }


def examples(count: int, seed: int) -> list[dict[str, str]]:
    """Return labelled examples; the label says whether the text has more letters of the alphabet's first half."""
    order = random.Random(seed)  # noqa: S311 - reproducible examples, no secret
    texts = ("".join(order.choices(_LETTERS, k=_TEXT_LETTERS)) for _ in range(count))
    return [
        {"text": text, "label": _CHOICES[sum(letter < "n" for letter in text) > _TEXT_LETTERS // 2]} for text in texts
    ]


def jsonl(rows: list[dict[str, str]]) -> bytes:
    """Return one JSON object a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()

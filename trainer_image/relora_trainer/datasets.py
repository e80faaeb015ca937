"""Labelled examples: JSON lines or parquet on disk to prompts, choices and disjoint parts.

The parts are chosen by the hash of each example's content, so that they do not depend on the order of the file:
`validation` feeds the search and the monitor, `test` the gate alone.
"""

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from relora_contract.task import Task
from relora_store.sizes import human_size
from relora_trainer.errors import DataError
from relora_trainer.prompts import Prompt, Prompts

MAX_FILE_BYTES = 1024**3
MAX_EXAMPLES = 1_000_000
"""Of a file: what its examples take of a step's memory is bounded. A few thousand of them make an adapter."""
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_MONITOR_ITEMS = 512
MAX_GATE_ITEMS = 5_000


@dataclass(frozen=True)
class Example:
    """One labelled example.

    Attributes:
        key: SHA-256 of the example's prompt and label, 64 hexadecimal digits.
        prompt: What the model is asked.
        label: Index into the task's choices; 0 for a generative task.
        completion: What a generative task expects; empty for a task with choices.
    """

    key: str
    prompt: Prompt
    label: int
    completion: str = ""


@dataclass(frozen=True)
class Parts:
    """The disjoint parts of a dataset."""

    train: tuple[Example, ...]
    search: tuple[Example, ...]
    monitor: tuple[Example, ...]
    gate: tuple[Example, ...]


def read_examples(path: Path, task: Task) -> tuple[Example, ...]:
    """Read one JSON object a line, or one row of a `.parquet` file; equal examples count once.

    Raises:
        DataError: A line is not a JSON object, lacks a field, or has a label outside `task.choices`; there is none; or
            the file is too large. The message names the file and the line or row, never the text.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{path.name} has {human_size(size)}, and a file of a dataset may have {human_size(MAX_FILE_BYTES)}: give "
            "a sample of it"
        )
    prompts = Prompts(task)
    labels = {choice: index for index, choice in enumerate(task.choices or ())}
    fields = prompts.fields | {task.completion_field}
    records = itertools.islice(_records(path, fields), MAX_EXAMPLES + 1)
    examples = [_example(where, record, prompts, task, labels) for where, record in records]
    if len(examples) > MAX_EXAMPLES:
        raise DataError(f"{path.name} holds more than {MAX_EXAMPLES:,} examples: give a sample of them")
    if not examples:
        raise DataError(f"{path.name} holds no example")
    return tuple({example.key: example for example in examples}.values())


def _records(path: Path, fields: Collection[str]) -> Iterator[tuple[str, dict[str, object]]]:
    if path.suffix.lower() != ".parquet":
        return _json_records(path)
    # Most datasets are JSON, and a step that has nothing to do must end at once.
    from relora_trainer.parquet import parquet_records  # noqa: PLC0415

    return parquet_records(path, fields)


def _json_records(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
            where = f"{path.name}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{where}: longer than {MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: not JSON; expected one object a line") from error
            if not isinstance(record, dict):
                raise DataError(f"{where}: not a JSON object")
            yield where, record


def _example(
    where: str, record: Mapping[str, object], prompts: Prompts, task: Task, labels: Mapping[str, int]
) -> Example:
    values: dict[str, str] = {}
    for field in sorted(prompts.fields | {task.completion_field}):
        value = record.get(field)
        if not isinstance(value, str):
            raise DataError(f"{where}: field {field!r} is missing or not a string")
        if not _is_text(value):
            raise DataError(f"{where}: field {field!r} holds half of a surrogate pair, as of an emoji that was cut")
        values[field] = value
    answer = values[task.completion_field]
    label = labels.get(answer) if task.choices else 0
    if label is None:
        raise DataError(f"{where}: the value of {task.completion_field!r} is not one of task.choices")
    completion = "" if task.choices else answer
    if not answer.strip():
        raise DataError(f"{where}: the value of {task.completion_field!r} is empty")
    prompt = prompts.prompt(values)
    if not prompt.text.strip():
        raise DataError(f"{where}: the text of the last placeholder is empty")
    content = [*astuple(prompt)[:3], label if task.choices else answer, *astuple(prompt)[3]]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Example(key=key, prompt=prompt, label=label, completion=completion)


def _is_text(value: str) -> bool:
    """Tell whether UTF-8 can hold it: JSON's escapes may give what no text has, and no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def split(
    train: Sequence[Example], validation: Sequence[Example], test: Sequence[Example], *, search_items: int
) -> Parts:
    """Return the disjoint parts.

    Args:
        train: Examples for fine-tuning.
        validation: By ascending key, the first `search_items` feed the search, the next 512 the monitor. With too few
            for both, each gets half.
        test: The first 5,000 by ascending key feed the gate.
        search_items: `search.validationSamples`.

    Raises:
        DataError: An example is in two files, or validation has fewer than two examples.
    """
    files = {"train": train, "validation": validation, "test": test}
    names = list(files)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            shared = {example.key for example in files[first]} & {example.key for example in files[second]}
            if shared:
                raise DataError(f"{len(shared)} examples are both in {first} and in {second}: remove them from one")
    if len(validation) < 2:  # noqa: PLR2004 - one for each part
        raise DataError("validation needs at least two examples: one part feeds the search, the other the monitor")
    ordered = sorted(validation, key=lambda example: example.key)
    searched = min(search_items, max(1, len(ordered) // 2))
    gate = sorted(test, key=lambda example: example.key)[:MAX_GATE_ITEMS]
    return Parts(
        train=tuple(train),
        search=tuple(ordered[:searched]),
        monitor=tuple(ordered[searched : searched + MAX_MONITOR_ITEMS]),
        gate=tuple(gate),
    )

"""Labelled examples: JSON lines or parquet on disk to prompts, choices and disjoint parts.

The parts are chosen by the hash of each example's content, so that they do not depend on the order of the file:
`validation` feeds the search and the monitor, `test` the gate alone.
"""

import hashlib
import json
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from relora_contract.readaptation import Task
from relora_trainer.errors import ConfigurationError, DataError

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_MONITOR_ITEMS = 512
MAX_GATE_ITEMS = 5_000


@dataclass(frozen=True)
class Example:
    """One labelled example.

    Attributes:
        key: SHA-256 of the example's prompt and label, 64 hexadecimal digits.
        before: The prompt up to the last placeholder's value.
        text: The value of the last placeholder: the part that is cut when the prompt is too long.
        after: The rest of the prompt.
        label: Index into the task's choices; 0 for a generative task.
        completion: What a generative task expects; empty for a task with choices.
    """

    key: str
    before: str
    text: str
    after: str
    label: int
    completion: str = ""


@dataclass(frozen=True)
class Parts:
    """The disjoint parts of a dataset."""

    train: tuple[Example, ...]
    search: tuple[Example, ...]
    monitor: tuple[Example, ...]
    gate: tuple[Example, ...]


@dataclass(frozen=True)
class PromptTemplate:
    """A parsed prompt template: alternating text and field names."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, template: str) -> "PromptTemplate":
        """Parse `{field}` placeholders; `{{` and `}}` stand for braces.

        Raises:
            ConfigurationError: The template is malformed, or has no placeholder.
        """
        pieces: list[tuple[str, str | None]] = []
        try:
            for text, field, spec, conversion in string.Formatter().parse(template):
                if field is not None and (spec or conversion or not field.isidentifier()):
                    raise ConfigurationError(
                        f"task.promptTemplate: {{{field}}} must be a plain field name; write {{{{ and }}}} for braces"
                    )
                pieces.append((text, field))
        except ValueError as error:
            raise ConfigurationError(f"task.promptTemplate is malformed: {error}") from error
        if all(field is None for _, field in pieces):
            raise ConfigurationError("task.promptTemplate has no placeholder such as {text}")
        return cls(tuple(pieces))

    @property
    def fields(self) -> frozenset[str]:
        """The fields that an example must have."""
        return frozenset(field for _, field in self.pieces if field is not None)

    def render(self, values: Mapping[str, str]) -> tuple[str, str, str]:
        """Return the prompt as (before, text, after) around the last placeholder."""
        last = max(index for index, (_, field) in enumerate(self.pieces) if field is not None)
        before, text, after = "", "", ""
        for index, (literal, field) in enumerate(self.pieces):
            if index > last:
                after += literal
                continue
            before += literal
            if field is not None and index < last:
                before += values[field]
            elif field is not None:
                text = values[field]
        return before, text, after


def read_examples(path: Path, task: Task) -> tuple[Example, ...]:
    """Read one JSON object a line, or one row of a `.parquet` file; equal examples count once.

    Raises:
        DataError: A line is not a JSON object, lacks a field, or has a label outside `task.choices`; there is none.
            The message names the file and the line or row, never the text.
    """
    template = PromptTemplate.parse(task.prompt_template)
    labels = {choice: index for index, choice in enumerate(task.choices or ())}
    fields = template.fields | {task.completion_field}
    examples = [_example(where, record, template, task, labels) for where, record in _records(path, fields)]
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
            except ValueError as error:
                raise DataError(f"{where}: not JSON; expected one object a line") from error
            if not isinstance(record, dict):
                raise DataError(f"{where}: not a JSON object")
            yield where, record


def _example(
    where: str, record: Mapping[str, object], template: PromptTemplate, task: Task, labels: Mapping[str, int]
) -> Example:
    values: dict[str, str] = {}
    for field in sorted(template.fields | {task.completion_field}):
        value = record.get(field)
        if not isinstance(value, str):
            raise DataError(f"{where}: field {field!r} is missing or not a string")
        values[field] = value
    answer = values[task.completion_field]
    label = labels.get(answer) if task.choices else 0
    if label is None:
        raise DataError(f"{where}: the value of {task.completion_field!r} is not one of task.choices")
    completion = "" if task.choices else answer
    if not answer.strip():
        raise DataError(f"{where}: the value of {task.completion_field!r} is empty")
    before, text, after = template.render(values)
    if not text.strip():
        raise DataError(f"{where}: the text of the last placeholder is empty")
    key = hashlib.sha256(json.dumps([before, text, after, label if task.choices else answer]).encode()).hexdigest()
    return Example(key=key, before=before, text=text, after=after, label=label, completion=completion)


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

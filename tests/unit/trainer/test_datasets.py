import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from relora_contract.task import Message, Task
from relora_trainer import datasets
from relora_trainer.datasets import Example, read_examples, split
from relora_trainer.errors import ConfigurationError, DataError
from relora_trainer.prompts import Prompt, Prompts, PromptTemplate

TASK = Task(
    kind="CausalLM",
    prompt_template="Review: {text}\nSentiment:",
    completion_field="label",
    choices=["negative", "positive"],
)


def _file(tmp_path: Path, lines: Sequence[object]) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def _examples(prefix: str, count: int) -> list[Example]:
    return [Example(key=f"{prefix}{index:04d}", prompt=Prompt("", str(index), ""), label=0) for index in range(count)]


def test_an_example_is_cut_around_its_last_placeholder(tmp_path: Path) -> None:
    (example,) = read_examples(_file(tmp_path, [{"text": "A fine film.", "label": "positive"}]), TASK)
    assert example.prompt == Prompt("Review: ", "A fine film.", "\nSentiment:")
    assert example.label == 1


def test_a_template_may_use_several_fields_and_braces() -> None:
    template = PromptTemplate.parse("{{{a}}} then {b}!")
    assert template.render({"a": "x", "b": "y"}) == ("{x} then ", "y", "!")
    assert template.fields == {"a", "b"}


@pytest.mark.parametrize("template", ["no placeholder", "{text", "{0}", "{text!r}", "{text:>10}", "{a.b}"])
def test_a_malformed_template_is_a_configuration_error(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"task\.promptTemplate"):
        Prompts(TASK.model_copy(update={"prompt_template": template}))
    messages = [Message(role="system", content="{a}"), Message(role="user", content=template)]
    chosen = messages if template != "no placeholder" else messages[1:]
    with pytest.raises(ConfigurationError, match=r"task\.messages"):
        Prompts(TASK.model_copy(update={"prompt_template": None, "messages": chosen}))


@pytest.mark.parametrize("messages", [None, [Message(role="user", content="{text}")]])
def test_a_prompt_is_a_template_or_a_chat(messages: list[Message] | None) -> None:
    template = TASK.prompt_template if messages else None
    with pytest.raises(ConfigurationError, match="promptTemplate or messages, and not both"):
        Prompts(TASK.model_copy(update={"prompt_template": template, "messages": messages}))


def test_a_chat_is_cut_in_the_message_with_the_last_placeholder(tmp_path: Path) -> None:
    messages = [
        Message(role="system", content="Judge the {kind}."),
        Message(role="user", content="{kind}: {text}!"),
        Message(role="assistant", content="Sentiment?"),
        Message(role="user", content="Yes."),
    ]
    task = TASK.model_copy(update={"prompt_template": None, "messages": messages})
    rows = [
        {"kind": "film", "text": "Fine", "label": "positive"},
        {"kind": "book", "text": "Fine", "label": "positive"},
    ]
    first, second = read_examples(_file(tmp_path, rows), task)
    assert first.prompt.messages("Cut") == [
        {"role": "system", "content": "Judge the film."},
        {"role": "user", "content": "film: Cut!"},
        {"role": "assistant", "content": "Sentiment?"},
        {"role": "user", "content": "Yes."},
    ]
    assert (first.prompt.text, first.key == second.key) == ("Fine", False)


@pytest.mark.parametrize(
    ("line", "message"),
    {
        "not JSON": ("{", "line 2: not JSON"),
        "not an object": ([1], "line 2: not a JSON object"),
        "missing field": ({"label": "positive"}, "line 2: field 'text' is missing"),
        "number for text": ({"text": 3, "label": "positive"}, "line 2: field 'text' is missing or not a string"),
        "foreign label": ({"text": "x", "label": "mixed"}, "line 2: the value of 'label' is not one of task.choices"),
        "half an emoji": (
            {"text": "great \ud83d", "label": "positive"},
            "line 2: field 'text' holds half of a surrogate",
        ),
        "nested without end": ("[" * 100_000, "line 2: not JSON"),
        "empty text": ({"text": " ", "label": "positive"}, "line 2: the text of the last placeholder is empty"),
    }.values(),
)
def test_a_bad_line_is_named_without_its_text(tmp_path: Path, line: object, message: str) -> None:
    path = _file(tmp_path, [{"text": "good", "label": "positive"}, line])
    with pytest.raises(DataError, match=message):
        read_examples(path, TASK)


def test_without_choices_the_completion_is_any_text(tmp_path: Path) -> None:
    task = TASK.model_copy(update={"choices": None})
    path = _file(tmp_path, [{"text": "x", "label": "a fine one"}, {"text": "x", "label": "another"}])
    first, second = read_examples(path, task)
    assert (first.label, first.completion, second.completion) == (0, "a fine one", "another")
    assert first.key != second.key
    with pytest.raises(DataError, match="line 1: the value of 'label' is empty"):
        read_examples(_file(tmp_path, [{"text": "x", "label": " "}]), task)


def test_parquet_gives_the_same_examples_as_json_lines(tmp_path: Path) -> None:
    rows = [{"text": f"film {index}", "label": TASK.choices[index % 2], "other": index} for index in range(3000)]  # type: ignore[index]  # it has some
    parquet = tmp_path / "train.parquet"
    write_table(pa.Table.from_pylist(rows), parquet)
    assert read_examples(parquet, TASK) == read_examples(_file(tmp_path, rows), TASK)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "row 2: field 'label' is missing"),
        ({"text": "x", "label": "mixed"}, "row 2: the value of 'label' is not one of task.choices"),
        ({"text": None, "label": "positive"}, "row 2: field 'text' is missing or not a string"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "train.parquet"
    write_table(pa.Table.from_pylist([{"text": "good", "label": "positive"}, row]), path)
    with pytest.raises(DataError, match=f"train.parquet, {message}"):
        read_examples(path, TASK)


@pytest.mark.parametrize("keep", [3, 200])
def test_a_damaged_parquet_file_is_a_data_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "train.parquet"
    write_table(pa.Table.from_pylist([{"text": "good", "label": "positive"}]), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train\.parquet is damaged"):
        read_examples(path, TASK)


def test_a_text_that_is_no_utf8_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    text = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    write_table(pa.table({"text": text, "label": ["positive", "positive"]}), path)
    with pytest.raises(DataError, match=r"train\.parquet is damaged"):
        read_examples(path, TASK)


def test_a_file_of_ten_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(DataError, match="has 10 GiB, and a file of a dataset may have 1 GiB: give a sample"):
        read_examples(path, TASK)


def test_a_file_of_too_many_examples_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_EXAMPLES", 2)
    lines = [{"text": str(number), "label": "positive"} for number in range(2)]
    assert len(read_examples(_file(tmp_path, lines), TASK)) == 2
    with pytest.raises(DataError, match="holds more than 2 examples"):
        read_examples(_file(tmp_path, [*lines, {"text": "2", "label": "positive"}, "no JSON"]), TASK)


@pytest.mark.parametrize("count", [0, 1])
def test_one_example_for_search_and_monitor_is_too_few(count: int) -> None:
    with pytest.raises(DataError, match="validation needs at least two examples"):
        split(_examples("t", 1), _examples("v", count), _examples("e", 1), search_items=8)


def test_an_empty_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no example"):
        read_examples(_file(tmp_path, []), TASK)


def test_parts_do_not_depend_on_the_order_of_the_file() -> None:
    validation = _examples("v", 40)
    forward = split(_examples("t", 3), validation, _examples("g", 3), search_items=16)
    backward = split(_examples("t", 3), validation[::-1], _examples("g", 3), search_items=16)
    assert (forward.search, forward.monitor) == (backward.search, backward.monitor)
    assert (len(forward.search), len(forward.monitor)) == (16, 24)


def test_a_small_validation_file_is_halved() -> None:
    parts = split(_examples("t", 3), _examples("v", 10), _examples("g", 3), search_items=512)
    assert (len(parts.search), len(parts.monitor)) == (5, 5)


def test_an_example_in_two_files_is_refused() -> None:
    with pytest.raises(DataError, match="2 examples are both in train and in test"):
        split(_examples("x", 2), _examples("v", 10), _examples("x", 5), search_items=4)

import json
from pathlib import Path

import pytest

from realdata.classification import Row, Task, read_rows
from realdata.reviews import Split, first_sentence, natural, split_rows, usable, write_task

TASK = Task("{text}\nmood:\n", "label", ("sad", "glad"), max_length=16)


def rows(count: int) -> list[Row]:
    return [{"text": f"text {number}", "label": TASK.choices[number % 2]} for number in range(count)]


def test_parts_are_disjoint_balanced_and_of_the_size_asked_for() -> None:
    parts = split_rows(rows(60), TASK, Split(train=20, validation=10, test=12))
    texts = [row["text"] for part in parts.values() for row in part]
    assert len(set(texts)) == len(texts) == 42
    assert {name: len(part) for name, part in parts.items()} == {"train": 20, "validation": 10, "test": 12}
    for part in parts.values():
        assert sum(row["label"] == "sad" for row in part) * 2 == len(part)


def test_parts_do_not_depend_on_the_order_of_the_source() -> None:
    split = Split(train=20, validation=10, test=12)
    assert split_rows(rows(60), TASK, split) == split_rows(reversed(rows(60)), TASK, split)


def test_a_text_that_stands_twice_is_dealt_once() -> None:
    parts = split_rows(rows(12) * 3, TASK, Split(train=6, validation=4, test=2))
    assert len({row["text"] for part in parts.values() for row in part}) == 12


def test_too_few_rows_are_refused_with_the_part_and_the_label() -> None:
    with pytest.raises(ValueError, match="test asks for 10 rows labelled 'sad', but 1 are left"):
        split_rows(rows(12), TASK, Split(train=6, validation=4, test=20))


def test_task_file_speaks_the_resource_s_language(tmp_path: Path) -> None:
    write_task(tmp_path, TASK, rows(12), Split(train=6, validation=4, test=2))
    fields = json.loads((tmp_path / "task.json").read_text())
    assert fields["promptTemplate"] == TASK.prompt_template
    assert fields["choices"] == ["sad", "glad"]
    assert Task.from_json((tmp_path / "task.json").read_text()) == TASK
    assert len(read_rows(tmp_path / "train.jsonl")) == 6


def test_sources_are_made_to_look_alike() -> None:
    assert natural("It 's A gem , isn 't it ?<br />Yes") == "it's a gem, isn't it? yes"


def test_long_and_very_short_texts_are_left_out() -> None:
    assert usable("a gem") is None
    assert usable("word " * 40) is None
    assert usable("a gem that shines from the first frame on") is not None


def test_first_sentence_ends_at_the_first_mark() -> None:
    assert first_sentence(" <b>I</b> liked it! Then it rained.").split() == ["I", "liked", "it!"]

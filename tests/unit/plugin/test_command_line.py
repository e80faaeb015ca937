"""Help, wrong usage, and the small parts of the output."""

import pytest

from plugin.shelf import Shelf
from relora_kubectl.tables import Note, Table, plain
from relora_kubectl.wording import human_duration
from unit.plugin.conftest import Run


def test_help_teaches_by_examples(run: Run) -> None:
    code, out, _ = run(Shelf(), "status", "--help")
    assert code == 0
    assert "\n    kubectl relora status smollm2-135m-r2 -w" in out
    assert "Exit codes: 0 done; 1 it failed" in out


def test_without_a_command_the_help_is_printed(run: Run) -> None:
    code, out, err = run(Shelf())
    assert code == 2
    assert "Usage: kubectl relora" in out + err


@pytest.mark.parametrize(
    "arguments", [("status", "--bogus"), ("status", "-o", "yaml"), ("status", "-n", "a", "-A"), ("bogus",)]
)
def test_wrong_usage_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(Shelf(), *arguments)
    assert (code, out) == (2, "")
    assert "rror: " in err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "1 h"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (86_399, "1 d"),
        (86_400, "1 d"),
        (100_000, "1 d 4 h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_columns_are_aligned_and_never_empty() -> None:
    table = Table(("name", "message"), (("a", "two\nlines"), ("longer", "")))
    assert plain([table, Table(("x",), ()), Note("end")]) == [
        "NAME     MESSAGE",
        "a        two lines",
        "longer   -",
        "",
        "end",
    ]

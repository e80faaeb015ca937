from pathlib import Path

import pytest

from bench import results
from bench.results import Result, Row, at_least, at_most, decided, measured, number, result, texts


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = result("some", [at_most("writes", 3, 12), measured("time", 1.5, "s")], packages=["pydantic"], seeds=[1, 2])

    found.write(tmp_path / "new" / "some.json")

    assert Result.read(tmp_path / "new" / "some.json") == found
    assert found.seeds == [1, 2]
    assert {"python", "pydantic"} <= found.versions.keys()
    assert found.machine["load"]


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (at_most("x", 12, 12), True),
        (at_most("x", 12.1, 12), False),
        (at_least("x", 90, 90), True),
        (at_least("x", 89.9, 90), False),
        (at_most("x", None, 12), False),  # what was not measured has not met its target
        (measured("x", 1.0), None),
        (at_most("x", 10, 12, "", (9, 12)), True),
        (at_most("x", 10, 12, "", (9, 12.1)), None),
        (at_most("x", 13, 12, "", (12.1, 15)), False),
        (at_least("x", 6, 5, "", (5, 9)), True),
        (at_least("x", 6, 5, "", (4.9, 9)), None),
        (at_least("x", 4, 5, "", (3, 4.9)), False),
        (decided(measured("x", 1, "", (0, 2)), "> 0", lambda end: end > 0), None),
        (decided(measured("x", 1, "", (0.1, 2)), "> 0", lambda end: end > 0), True),
    ],
)
def test_a_row_says_whether_its_target_was_met_by_the_whole_interval(row: Row, *, met: bool | None) -> None:
    assert row.met is met


def test_the_table_names_what_was_missed() -> None:
    rows = [at_most("writes", 13, 12), at_least("speed", 41, 40, "bindings/s"), measured("n", 20000)]
    found = result("some", [*rows, at_least("ratio", 5, 4, "×", (3, 6))])
    lines = found.table().splitlines()

    assert [row.name for row in found.missed] == ["writes"]
    assert next(line for line in lines if line.startswith("writes")).split() == ["writes", "13", "≤", "12", "MISSED"]
    assert next(line for line in lines if line.startswith("speed")).split()[-2:] == ["40", "met"]
    assert next(line for line in lines if line.startswith("n ")).split() == ["n", "20,000"]
    undecided = "ratio 5 × 3 to 6 ≥ 4 undecided"
    assert next(line for line in lines if line.startswith("ratio")).split() == undecided.split()


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (measured("x", None, "s"), ("x", "none", "", "", "")),
        (at_most("x", None, 12, "s"), ("x", "not measured", "", "≤ 12", "missed")),
        (measured("x", 1.5, "s", (1, 2)), ("x", "1.5 s", "1 to 2", "", "")),
    ],
)
def test_a_row_in_words(row: Row, shown: tuple[str, ...]) -> None:
    assert texts(row) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.4008e-7, "1.4e-7"),
        (-1.59e-5, "-1.59e-5"),
        (9.9999e-4, "1e-3"),
        (0.0012, "0.0012"),
        (0.5, "0.5"),
        (12.345, "12.3"),
        (999.7, "1,000"),
        (20_000.4, "20,000"),
    ],
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_kept_results_have_the_common_form() -> None:
    for path in results.FOLDER.glob("*.json"):
        assert Result.read(path).bench == path.stem.partition("-")[0]

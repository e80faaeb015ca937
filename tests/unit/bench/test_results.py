from pathlib import Path

import pytest

from bench import results
from bench.results import Result, at_least, at_most, measured, result


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
    ],
)
def test_a_row_says_whether_its_target_was_met(row: results.Row, *, met: bool | None) -> None:
    assert row.met is met


def test_the_table_names_what_was_missed() -> None:
    found = result("some", [at_most("writes", 13, 12), at_least("speed", 41, 40, "bindings/s"), measured("n", 20000)])
    lines = found.table().splitlines()

    assert [row.name for row in found.missed] == ["writes"]
    assert next(line for line in lines if line.startswith("writes")).split() == ["writes", "13", "≤", "12", "MISSED"]
    assert next(line for line in lines if line.startswith("speed")).endswith("≥ 40    met")
    assert next(line for line in lines if line.startswith("n ")).split() == ["n", "20,000"]


def test_kept_results_have_the_common_form() -> None:
    for path in results.FOLDER.glob("*.json"):
        assert Result.read(path).bench == path.stem.partition("-")[0]

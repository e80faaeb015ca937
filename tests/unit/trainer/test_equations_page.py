"""The table of equations names functions and tests that exist, and leaves out no equation."""

import importlib
from pathlib import Path

ROOT = Path(__file__).parents[3]
EQUATIONS = {7, 8, 9, *range(10, 18), *range(18, 23)}


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "equations.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return cells[2:]


def test_every_equation_of_the_method_is_there() -> None:
    assert {int(number) for equations, *_ in rows() for number in equations.split(",")} == EQUATIONS


def test_every_function_exists() -> None:
    for _, _, function, *_ in rows():
        module, *names = function.strip("`").split(".")
        found: object = importlib.import_module(f"relora_trainer.{module}")
        for name in names:
            found = getattr(found, name)
        assert callable(found) or isinstance(found, property), function


def test_every_test_exists() -> None:
    for _, _, _, test, _ in rows():
        path, name = test.strip("`").split("::")
        assert f"def {name}(" in (ROOT / path).read_text(), test

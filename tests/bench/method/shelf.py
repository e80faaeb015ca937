"""Files of what is finished: the recipe beside what it gave, so that a run can go on on another machine.

A file has the name of what it holds, and counts only for the recipe that is in it: with another trainer, other inputs
or other settings the same name is measured anew, and the file replaced. A re-adaptation that failed has a file of its
own, which says why, until it is measured.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.method.cells import Cell, Recipe, Trainer
from bench.method.parts import Part
from bench.results import Row, machine
from relora_trainer.execution import timestamp


class Measured(BaseModel):
    """The rows of a part, what they depend on, when they were finished, and the machine that measured them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    settings: str
    trainer: Trainer
    date: str
    machine: dict[str, str]
    rows: list[Row]


class Failure(BaseModel):
    """A re-adaptation that could not be carried out, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    message: str


class Shelf:
    """What is finished, in a folder.

    Args:
        folder: Of the files.
        any_trainer: Whether what another trainer measured counts too, or with inputs of another making: for a table of
            what there is, and for nothing that is still to be measured.
    """

    def __init__(self, folder: Path, *, any_trainer: bool = False) -> None:
        self._folder = folder
        self._any_trainer = any_trainer

    def cell(self, recipe: Recipe) -> Cell | None:
        """Return the cell, if it is finished."""
        path = self._of_recipe(recipe)
        found = Cell.model_validate_json(path.read_text()) if path.is_file() else None
        return found if found is not None and self._counts(found.recipe, recipe) else None

    def keep(self, cell: Cell) -> None:
        """Keep a finished cell in place of what had its name."""
        _write_whole(self._of_recipe(cell.recipe), cell.model_dump_json(by_alias=True, exclude_defaults=True))
        self._of_failure(cell.recipe).unlink(missing_ok=True)

    def failure(self, recipe: Recipe) -> Failure | None:
        """Return how the cell failed, if it did and was not measured since."""
        path = self._of_failure(recipe)
        found = Failure.model_validate_json(path.read_text()) if path.is_file() else None
        return found if found is not None and self._counts(found.recipe, recipe) else None

    def keep_failure(self, recipe: Recipe, message: str) -> None:
        """Keep why a cell could not be measured."""
        failure = Failure(recipe=recipe, message=message)
        _write_whole(self._of_failure(recipe), failure.model_dump_json(by_alias=True, indent=1))

    def part(self, part: Part) -> Measured | None:
        """Return a part, if it is finished."""
        path = self._of_part(part)
        found = Measured.model_validate_json(path.read_text()) if path.is_file() else None
        if found is None or found.settings != part.settings:
            return None
        return found if self._any_trainer or found.trainer == Trainer.here() else None

    def keep_part(self, part: Part, rows: Sequence[Row]) -> None:
        """Keep a finished part in place of what had its name."""
        found = Measured(
            name=part.name,
            settings=part.settings,
            trainer=Trainer.here(),
            date=timestamp(datetime.now(UTC)),
            machine=machine(),
            rows=list(rows),
        )
        _write_whole(self._of_part(part), found.model_dump_json(indent=1))

    def _counts(self, found: Recipe, wanted: Recipe) -> bool:
        return found.asks_as(wanted) if self._any_trainer else found.digest == wanted.digest

    def _of_recipe(self, recipe: Recipe) -> Path:
        return self._folder / f"{_name(recipe)}.json"

    def _of_failure(self, recipe: Recipe) -> Path:
        return self._folder / f"failed-{_name(recipe)}.json"

    def _of_part(self, part: Part) -> Path:
        return self._folder / f"part-{_slug(part.name)}.json"


def _name(recipe: Recipe) -> str:
    return _slug(f"{recipe.chain} {recipe.readaptation.seed} {recipe.variant}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(f"{text}\n")
    unfinished.replace(path)

"""Files of what is finished: the recipe beside what it gave, so that a run can go on on another machine.

A file has the name of what it holds, and counts only for the recipe that is in it: with another trainer, other inputs
or other settings the same name is measured anew, and the file replaced.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from bench.method.cells import Cell, Recipe, trainer_code
from bench.method.parts import Part
from bench.results import Row, machine
from relora_trainer.execution import versions
from relora_trainer.placement import choose_placement


class Measured(BaseModel):
    """The rows of a part, a digest of what they depend on, and the machine that measured them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: str
    machine: dict[str, str]
    rows: list[Row]


class Shelf:
    """What is finished, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cell(self, recipe: Recipe) -> Cell | None:
        """Return the cell, if it is finished."""
        path = self._of_recipe(recipe)
        found = Cell.model_validate_json(path.read_text()) if path.is_file() else None
        return found if found is not None and found.recipe.digest == recipe.digest else None

    def keep(self, cell: Cell) -> None:
        """Keep a finished cell in place of what had its name."""
        _write_whole(self._of_recipe(cell.recipe), cell.model_dump_json(by_alias=True, exclude_defaults=True))

    def part(self, part: Part, form: str) -> Measured | None:
        """Return a part, if it is finished. `form` says with which sizes."""
        path = self._of_part(part)
        found = Measured.model_validate_json(path.read_text()) if path.is_file() else None
        return found if found is not None and found.asked == _asked(part, form) else None

    def keep_part(self, part: Part, form: str, rows: Sequence[Row]) -> None:
        """Keep a finished part in place of what had its name."""
        found = Measured(asked=_asked(part, form), machine=machine(), rows=list(rows))
        _write_whole(self._of_part(part), found.model_dump_json(indent=1))

    def _of_recipe(self, recipe: Recipe) -> Path:
        asked = recipe.readaptation
        return self._folder / f"{_slug(f'{recipe.chain} {asked.seed} {recipe.variant}')}.json"

    def _of_part(self, part: Part) -> Path:
        return self._folder / f"part-{_slug(part.name)}.json"


def _asked(part: Part, form: str) -> str:
    runs = [trainer_code(), versions(), torch.get_num_threads(), str(choose_placement())]
    asked = json.dumps([part.name, form, *runs], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(f"{text}\n")
    unfinished.replace(path)

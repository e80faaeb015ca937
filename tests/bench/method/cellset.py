"""The cells that are finished so far, and which of them belong together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from bench.method.cells import Cell
from bench.method.variants import Key

T = TypeVar("T")
Pair: TypeAlias = tuple[Cell, Cell]


class Place(NamedTuple):
    """Where variants are compared: a task on an update of a size."""

    task: str
    update: str


Pairs: TypeAlias = dict[Place, list[Pair]]
"""Cells of two variants where both are finished, a pair for each seed; a place without any is left out."""


@dataclass(frozen=True)
class CellSet:
    """Finished cells by their keys, on one update or on all."""

    cells: Mapping[Key, Cell]

    @property
    def tasks(self) -> list[str]:
        """The tasks, sorted."""
        return sorted({key.task for key in self.cells})

    @property
    def updates(self) -> list[str]:
        """The sizes of updates, sorted."""
        return sorted({key.update for key in self.cells})

    def on(self, *, update: str | None = None, task: str | None = None) -> "CellSet":
        """Return the cells of one update, of one task, or of both."""
        return CellSet(
            {key: cell for key, cell in self.cells.items() if update in (None, key.update) and task in (None, key.task)}
        )

    def of(self, variant: str) -> list[Cell]:
        """Return the cells of a variant by task, update and seed."""
        return [cell for seeds in self.places(variant).values() for cell in seeds.values()]

    def places(self, variant: str) -> dict[Place, dict[int, Cell]]:
        """Return the cells of a variant by place, and there by seed."""
        found: dict[Place, dict[int, Cell]] = {}
        for key in sorted(self.cells, key=lambda key: (key.task, key.update, key.seed)):
            if key.variant == variant:
                found.setdefault(Place(key.task, key.update), {})[key.seed] = self.cells[key]
        return found

    def pairs(self, mine: str, theirs: str) -> Pairs:
        """Return the cells of two variants where both are finished."""
        others = self.places(theirs)
        return _without_empty(
            {
                place: [(cell, others[place][seed]) for seed, cell in seeds.items() if seed in others.get(place, {})]
                for place, seeds in self.places(mine).items()
            }
        )


def on_one_processor(pairs: Pairs) -> Pairs:
    """Return the pairs whose times can be compared: a run that went on on another machine has others, too."""
    return _without_empty(
        {
            place: [(a, b) for a, b in seeds if a.machine["processor"] == b.machine["processor"]]
            for place, seeds in pairs.items()
        }
    )


def by_task(places: Mapping[Place, T]) -> dict[str, list[T]]:
    """Return what there is on each task, an entry for each of its updates."""
    found: dict[str, list[T]] = {}
    for place, value in places.items():
        found.setdefault(place.task, []).append(value)
    return found


def _without_empty(pairs: Pairs) -> Pairs:
    return {place: seeds for place, seeds in pairs.items() if seeds}

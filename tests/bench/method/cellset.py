"""The cells that are finished so far, and which of them belong together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bench.method.cells import Cell
from bench.method.variants import Key

Pair: TypeAlias = tuple[Cell, Cell]


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
        return [cell for group in self._groups(variant).values() for cell in group.values()]

    def pairs(self, mine: str, theirs: str) -> list[list[Pair]]:
        """Return the cells of two variants where both are finished: a list for each task and update, a pair a seed."""
        others = self._groups(theirs)
        found = [
            [(cell, others[place][seed]) for seed, cell in group.items() if seed in others.get(place, {})]
            for place, group in self._groups(mine).items()
        ]
        return [pairs for pairs in found if pairs]

    def _groups(self, variant: str) -> dict[tuple[str, str], dict[int, Cell]]:
        found: dict[tuple[str, str], dict[int, Cell]] = {}
        for key in sorted(self.cells, key=lambda key: (key.task, key.update, key.seed)):
            if key.variant == variant:
                found.setdefault((key.task, key.update), {})[key.seed] = self.cells[key]
        return found

"""Values of modules as a grid: decoder blocks across, the linear layers of a block down."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_IN_A_BLOCK = re.compile(r"(?P<stack>.*?)\.(?P<block>\d+)\.(?P<name>.+)")


@dataclass(frozen=True)
class ModuleGrid:
    """One value of each module.

    Attributes:
        names: Of the rows: a module's name inside its block.
        blocks: Of the columns: the blocks' numbers, ascending.
        values: By row and column; NaN where a block has no such module or it is not adapted.
    """

    names: tuple[str, ...]
    blocks: tuple[int, ...]
    values: list[list[float]]


def module_grid(values: Mapping[str, str]) -> ModuleGrid:
    """Return the grid of decimal numbers by module name, as in `model.layers.3.self_attn.q_proj`.

    A module outside a numbered block stands in block 0 under its whole name.
    """
    cells: dict[tuple[str, int], float] = {}
    for module, value in values.items():
        found = _IN_A_BLOCK.fullmatch(module)
        place = (found["name"], int(found["block"])) if found else (module, 0)
        cells[place] = float(value)
    names = tuple(dict.fromkeys(name for name, _ in cells))
    blocks = tuple(sorted({block for _, block in cells}))
    return ModuleGrid(names, blocks, [[cells.get((name, block), math.nan) for block in blocks] for name in names])

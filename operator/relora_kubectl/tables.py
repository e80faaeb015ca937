"""Tables as a view gives them, and their plain form: aligned columns under capital headers, as kubectl prints them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP = "   "


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Note:
    """Lines of their own."""

    text: str


Block = Table | Note
"""What a view consists of, from top to bottom."""


def plain(blocks: Iterable[Block]) -> list[str]:
    """Return the lines of blocks; an empty line parts them. Tables without rows are left out."""
    lines: list[str] = []
    for block in blocks:
        part = block.text.splitlines() if isinstance(block, Note) else _aligned(block)
        lines += ([""] if lines and part else []) + part
    return lines


def _aligned(table: Table) -> list[str]:
    if not table.rows:
        return []
    rows = [tuple(name.upper() for name in table.header), *(tuple(map(_shown, row)) for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    return [_line(row, widths) for row in rows]


def _shown(cell: str) -> str:
    """Return a cell of one line that is not empty, so that columns can be counted."""
    return " ".join(cell.split()) or "-"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

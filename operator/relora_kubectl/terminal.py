"""The look of views on a terminal: progress bars for releases, tables with colours for the rest."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from relora_kubectl.status import ReleaseView, StatusView
from relora_kubectl.status_text import estimate_text, problem_blocks
from relora_kubectl.tables import Block, Note, Table

BAR_WIDTH = 40
_STYLES = {"running": "cyan", "passed": "blue", "promoted": "green", "failed": "red"}


def rendered(blocks: Iterable[Block]) -> RenderableType:
    """Return blocks as tables and lines, parted by empty lines."""
    parts: list[RenderableType] = []
    for block in blocks:
        if isinstance(block, Table) and not block.rows:
            continue
        parts += ([Text()] if parts else []) + [Text(block.text) if isinstance(block, Note) else _table(block)]
    return Group(*parts)


def status_screen(view: StatusView) -> RenderableType:
    """Return releases as bars, then what keeps them."""
    parts: list[RenderableType] = []
    for release in view.releases:
        parts += [*_bars(release), Text()]
    if not view.releases:
        parts = [Text("no release is under way or in use")]
    return Group(*parts, rendered(problem_blocks(view)))


def _table(table: Table) -> RichTable:
    drawn = RichTable(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in table.header:
        drawn.add_column(name.upper(), overflow="fold")
    for row in table.rows:
        # Text and not str: names and messages come from others and must not be read as markup.
        drawn.add_row(*(Text(cell or "-") for cell in row))
    return drawn


def _bars(release: ReleaseView) -> list[RenderableType]:
    before = f", supersedes {release.supersedes}" if release.supersedes else ""
    title = Text.assemble((release.name, "bold"), f"   version {release.version} of {release.model}{before}")
    status = Text.assemble((release.status.reason, _status_style(release)), f": {release.status.message}")
    rows = RichTable.grid(padding=(0, 2, 0, 0))
    if release.deltas:
        stored = sum(delta.state == "Stored" for delta in release.deltas)
        rows.add_row(
            "  delta", _bar(stored, len(release.deltas), "magenta"), f"{stored} of {len(release.deltas)} stored"
        )
    for phase in release.phases:
        total = release.eligible or 0
        rows.add_row(f"  {phase.name}", _bar(phase.count, total, _STYLES.get(phase.name, "white")), str(phase.count))
    estimate = estimate_text(release.estimate)
    return [title, status, rows, *([Text(f"  Jobs: {estimate}")] if estimate else [])]


def _bar(count: int, total: int, style: str) -> ProgressBar:
    return ProgressBar(
        total=max(total, 1), completed=count, width=BAR_WIDTH, complete_style=style, finished_style=style
    )


def _status_style(release: ReleaseView) -> str:
    if release.failed or release.stalled is not None:
        return "bold red"
    return "bold green" if release.complete else "bold cyan"

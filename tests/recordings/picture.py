"""Draws what a terminal showed as SVG: one frame as a still picture, several as one that moves."""

import io
import re
from collections.abc import Sequence

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from recordings.terminal import COLUMNS, Frame

_PARTS = ("styles", "chrome", "backgrounds", "matrix", "width", "height", "terminal_x", "terminal_y")
_BETWEEN = "\x1f"
_FORMAT = _BETWEEN.join(f"{{{part}}}" for part in _PARTS)
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_THEME = TerminalTheme(
    background=(13, 17, 23),
    foreground=(201, 209, 217),
    normal=[
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)
_FONT_SIZE, _FONT_ASPECT = 20, 0.602
"""Height of a line's characters, and their width as a share of it: what the usual fonts have."""
_SPACE = "&#160;"
_NEEDLESS = re.compile(r' clip-path="url\([^"]*\)"|<text [^>]*>\n</text>')
_INDENTED = re.compile(rf'x="([^"]*)" y="([^"]*)" textLength="([^"]*)">((?:{_SPACE})+)')
_PROMPT = "\x1b[1;32m$\x1b[0m "

_Parts = dict[str, str]
"""Of the picture of one frame, by their names."""


def still(command: str, frame: Frame) -> str:
    """Return the picture of one frame below its command."""
    drawn = _drawn(command, frame.text, "still", 0)
    return _document(drawn, drawn["styles"], _group(drawn, "still"))


def moving(command: str, frames: Sequence[Frame], *, seconds: float, last_seconds: float, poster: int) -> str:
    """Return one picture that shows frames one after the other, again and again.

    Args:
        command: Stands above each frame.
        frames: In their order.
        seconds: How long each is shown.
        last_seconds: How long the last one is shown.
        poster: Index of the frame that a viewer without animations shows.
    """
    lines = max(frame.text.count("\n") for frame in frames) + 2
    whole = seconds * (len(frames) - 1) + last_seconds
    window: _Parts = {}
    rules, groups = [], []
    for index, frame in enumerate(frames):
        name = f"frame{index}"
        drawn = _drawn(command, frame.text, name, lines)
        window = window or drawn
        begins, ends = 100 * seconds * index / whole, 100 * seconds * (index + 1) / whole
        moments = {0.0: 0, begins: 1} if index == len(frames) - 1 else {0.0: 0, begins: 1, ends: 0}
        keys = " ".join(f"{at:.3f}% {{ opacity: {opacity} }}" for at, opacity in moments.items())
        rules += [
            drawn["styles"],
            f"@keyframes {name} {{ {keys} }}",
            f".{name} {{ opacity: {int(index == poster)}; animation: {name} {whole:g}s step-end infinite }}",
        ]
        groups.append(_group(drawn, name))
    return _document(window, "\n".join(rules), "\n".join(groups))


def _drawn(command: str, text: str, name: str, lines: int) -> _Parts:
    """Draw a command and its output on at least so many lines; `name` tells the styles from those of other frames."""
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor")
    shown = [*AnsiDecoder().decode(f"{_PROMPT}{command}\n{text}")]
    for line in [*shown, *[Text()] * (lines - len(shown))]:
        console.print(line, soft_wrap=True, highlight=False)
    drawn = console.export_svg(
        title="kubectl relora", theme=_THEME, code_format=_FORMAT, font_aspect_ratio=_FONT_ASPECT, unique_id=name
    )
    placed = _INDENTED.sub(_behind_spaces, _NEEDLESS.sub("", drawn))
    return dict(zip(_PARTS, placed.split(_BETWEEN), strict=True))


def _behind_spaces(text: re.Match[str]) -> str:
    """Return the place of a text behind the spaces that it begins with: some viewers leave them out."""
    x, y, length, spaces = text.groups()
    width = spaces.count(_SPACE) * _FONT_SIZE * _FONT_ASPECT
    return f'x="{float(x) + width:g}" y="{y}" textLength="{float(length) - width:g}">'


def _group(drawn: _Parts, name: str) -> str:
    """Return what the terminal shows, without its window."""
    place = f"translate({drawn['terminal_x']}, {drawn['terminal_y']})"
    return f'<g class="{name}" transform="{place}">{drawn["backgrounds"]}{drawn["matrix"]}</g>'


def _document(window: _Parts, rules: str, content: str) -> str:
    return f"""\
<svg viewBox="0 0 {window["width"]} {window["height"]}" xmlns="http://www.w3.org/2000/svg">
<style>
text {{ font-family: {_FONT}; font-size: {_FONT_SIZE}px }}
{rules}
</style>
{window["chrome"]}
{content}
</svg>
"""

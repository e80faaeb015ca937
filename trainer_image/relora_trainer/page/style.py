"""Colours and settings of the figures, and a figure as text or as bytes.

The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people tell apart whatever their
colour vision. In the page each of them is a variable, so that one figure serves a light and a dark background.
"""

import io
import re
from collections.abc import Callable, Mapping

from matplotlib import rc_context
from matplotlib.figure import Figure, FigureBase
from matplotlib.typing import RcKeyType

INK = "#1f2328"
MUTED = "#59636e"
RULE = "#d1d9e0"
PAPER = "#ffffff"
BLUE = "#0072b2"
ORANGE = "#e69f00"
GREEN = "#009e73"
RED = "#d55e00"
SKY = "#56b4e9"
PURPLE = "#cc79a7"
BLACK = "#101418"
WHITE = "#fefefe"
"""These two are the same on any background: marks on a coloured map."""
COLOUR_MAP = "viridis"

VARIABLES: Mapping[str, str] = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    RED: "red",
    SKY: "sky",
    PURPLE: "purple",
}
"""Names of the page's variables, by colour."""

SETTINGS: dict[RcKeyType, object] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titlecolor": INK,
    "figure.constrained_layout.use": True,
    "figure.facecolor": PAPER,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
PICTURE_DPI = 100

Draw = Callable[[FigureBase], None]


def as_svg(name: str, draw: Draw, *, width: float, height: float) -> str:
    """Return a figure as an `<svg>` element for a page with others: equal figures are equal texts.

    Args:
        name: Of the figure; precedes its identifiers, which a page may have once.
        draw: Draws into an empty figure.
        width: In inches.
        height: In inches.
    """
    buffer = io.StringIO()
    with rc_context({**SETTINGS, "svg.hashsalt": name, "figure.facecolor": "none", "savefig.facecolor": "none"}):
        figure = Figure(figsize=(width, height))
        draw(figure)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{name}-", svg)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def as_png(draw: Draw, *, width: float, height: float) -> bytes:
    """Return a figure as a picture on white."""
    buffer = io.BytesIO()
    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, height))
        draw(figure)
        figure.savefig(buffer, format="png", dpi=PICTURE_DPI, metadata={"Software": None})
    return buffer.getvalue()

"""The plots of a run, from the rows of its result alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.method import ablations, quality, readiness
from bench.method.chain import HARD, MILD, TASKS
from bench.method.variants import ABLATIONS, FINE_TUNE, SCRATCH, STRATEGIES
from bench.results import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UPDATES = (MILD, HARD)
_SPREAD = 0.5
_INCHES = (5.0, 3.4)


@dataclass(frozen=True)
class Panel:
    """Values with their intervals, side by side in groups.

    Attributes:
        title: With the unit.
        groups: Names along the axis.
        series: By name, for each group the beginning of its row's name.
        level: Where a line tells better from worse.
        absent: What stands in the place of a row that has no value.
    """

    title: str
    groups: Sequence[str]
    series: dict[str, list[str]]
    level: float | None = None
    absent: str = ""


def panels(tasks: Sequence[str]) -> dict[str, list[Panel]]:
    """Return the panels of each plot."""
    return {
        "readiness": [
            Panel(
                f"{update} update: seconds until ready",
                tasks,
                {name: [readiness.seconds_name(task, update, name) for task in tasks] for name in STRATEGIES},
                absent="never",
            )
            for update in UPDATES
        ],
        "quality": [
            Panel(
                f"{update} update: final accuracy, ReLoRA − …, points",
                [*tasks, "mean"],
                {
                    name: [
                        *(quality.difference_name(task, update, name) for task in tasks),
                        quality.mean_name(update, name),
                    ]
                    for name in (FINE_TUNE, SCRATCH)
                },
                level=0,
            )
            for update in UPDATES
        ],
        "ablations": [
            Panel(title, list(ABLATIONS), {"ReLoRA − ReLoRA with …": [name(each) for each in ABLATIONS]}, level=0)
            for title, name in (
                ("final accuracy, points", ablations.accuracy_name),
                ("final loss, nats/token", ablations.loss_name),
            )
        ],
        "updates": [
            Panel(
                "time to readiness, … ÷ ReLoRA",
                UPDATES,
                {name: [readiness.ratio_name(name, update) for update in UPDATES] for name in (FINE_TUNE, SCRATCH)},
                level=1,
                absent="no pair ready",
            ),
            Panel(
                "PortLLM alone passes its gate, % of tasks",
                UPDATES,
                {"PortLLM": [readiness.ported_name(update) for update in UPDATES]},
            ),
        ],
    }


def file_name(plot: str) -> str:
    """Return the name of the file of one of `panels`."""
    return f"method-{plot}.svg"


def draw(result: Result, folder: Path) -> None:
    """Write the file of each plot to `folder`, without what has no rows."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of import that only this needs

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "relora"  # the same figure gives the same file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    tasks = [task for task in TASKS if any(row.name.startswith(f"{task}, ") for row in result.rows)]
    for name, every in panels(tasks).items():
        known = [panel for panel in every if any(map(any, _rows(panel, result).values()))]
        if known:
            width, height = _INCHES
            figure, axes = plt.subplots(
                1, len(known), figsize=(width * len(known), height), layout="constrained", squeeze=False
            )
            for axis, panel in zip(axes[0], known, strict=True):
                _plot(axis, panel, _rows(panel, result))
            figure.savefig(folder / file_name(name), metadata={"Date": None})
            plt.close(figure)


def _rows(panel: Panel, result: Result) -> dict[str, list[Row | None]]:
    """Return the rows of each series, None where there is no such row."""
    return {
        name: [next((row for row in result.rows if row.name.startswith(begin)), None) for begin in begins]
        for name, begins in panel.series.items()
    }


def _plot(axis: "Axes", panel: Panel, series: dict[str, list[Row | None]]) -> None:
    for number, (name, rows) in enumerate(series.items()):
        color = f"C{number}"
        shift = _SPREAD * (number - (len(series) - 1) / 2) / len(series)
        places = [(place + shift, row) for place, row in enumerate(rows) if row is not None]
        points = [(x, row.value, *_lengths(row.value, row)) for x, row in places if row.value is not None]
        xs, values, below, above = ([point[side] for point in points] for side in range(4))
        axis.errorbar(xs, values, yerr=[below, above], fmt="o", capsize=3, color=color, label=name)
        for x in (x for x, row in places if row.value is None):
            axis.text(
                x,
                0.02,  # of the height: at the bottom whatever the scale is, for it is no value
                panel.absent,
                transform=axis.get_xaxis_transform(),
                rotation=90,
                ha="center",
                va="bottom",
                fontsize=8,
                color=color,
            )
    if panel.level is not None:
        axis.axhline(panel.level, color="black", linewidth=0.8)
    axis.set_xlim(-0.5, len(panel.groups) - 0.5)
    axis.set_xticks(range(len(panel.groups)), panel.groups, rotation=20, ha="right")
    axis.set_title(panel.title, fontsize=10)
    axis.grid(visible=True, axis="y", alpha=0.3)
    axis.legend(fontsize=8)


def _lengths(value: float, row: Row) -> tuple[float, float]:
    """Return how far the interval reaches below and above the value; not at all where there is none.

    A bootstrap's interval may lie on one side of the value, and rounding may put the end of a share's there.
    """
    low, high = (value if end is None else end for end in (row.low, row.high))
    return max(value - low, 0.0), max(high - value, 0.0)

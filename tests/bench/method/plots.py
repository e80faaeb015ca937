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
    """

    title: str
    groups: Sequence[str]
    series: dict[str, list[str]]
    level: float | None = None


def panels(tasks: Sequence[str]) -> dict[str, list[Panel]]:
    """Return the panels of each plot."""
    return {
        "readiness": [
            Panel(
                f"{update} update: seconds until ready",
                tasks,
                {name: [readiness.seconds_name(task, update, name) for task in tasks] for name in STRATEGIES},
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
            ),
            Panel(
                "PortLLM alone passes its gate, % of tasks",
                UPDATES,
                {"PortLLM": [readiness.ported_name(update) for update in UPDATES]},
            ),
        ],
    }


def draw(result: Result, folder: Path) -> None:
    """Write `method-readiness.svg` and the others of `panels` to `folder`, without what has no rows."""
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
            figure.savefig(folder / f"method-{name}.svg", metadata={"Date": None})
            plt.close(figure)


def _rows(panel: Panel, result: Result) -> dict[str, list[Row | None]]:
    """Return the rows of each series, None where one was not measured."""
    return {
        name: [next((row for row in result.rows if row.name.startswith(begin)), None) for begin in begins]
        for name, begins in panel.series.items()
    }


def _plot(axis: "Axes", panel: Panel, series: dict[str, list[Row | None]]) -> None:
    for number, (name, rows) in enumerate(series.items()):
        shift = _SPREAD * (number - (len(series) - 1) / 2) / len(series)
        known = [(place + shift, row) for place, row in enumerate(rows) if row is not None and row.value is not None]
        values = [row.value or 0.0 for _, row in known]
        below = [
            value - (row.low if row.low is not None else value) for value, (_, row) in zip(values, known, strict=True)
        ]
        above = [
            (row.high if row.high is not None else value) - value for value, (_, row) in zip(values, known, strict=True)
        ]
        axis.errorbar([x for x, _ in known], values, yerr=[below, above], fmt="o", capsize=3, label=name)
    if panel.level is not None:
        axis.axhline(panel.level, color="black", linewidth=0.8)
    axis.set_xticks(range(len(panel.groups)), panel.groups, rotation=20, ha="right")
    axis.set_title(panel.title, fontsize=10)
    axis.grid(visible=True, axis="y", alpha=0.3)
    axis.legend(fontsize=8)

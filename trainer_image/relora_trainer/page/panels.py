"""The figures of the page, each drawn into a figure or a part of one."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from relora_contract.report import GateEvidence, LearningCurve, Probe, Step, StepReport, Surface, Verdict
from relora_contract.task import Metric
from relora_trainer.page.modules import ModuleGrid
from relora_trainer.page.style import (
    BLACK,
    BLUE,
    COLOUR_MAP,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    RED,
    SKY,
    WHITE,
)

LEVELS = 13
HIGHEST = 4
"""The map of the loss tells no more apart above so many times the lowest one: a β near 0 would take all the colours."""
FLAT = 1e-3
"""A map whose values differ by less than this share has one colour."""
PARTS: Mapping[str, str] = {
    "load": SKY,
    "project": PURPLE,
    "search": ORANGE,
    "train": BLUE,
    "evaluate": GREEN,
    "publish": MUTED,
}
VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.PASSED: ("o", GREEN),
    Verdict.FAILED: ("X", RED),
    Verdict.INCONCLUSIVE: ("^", ORANGE),
}
"""Mark and colour; the mark tells as much as the colour."""
STAGES: Mapping[Step, tuple[str, str]] = {"recover": ("stage 1, recover", BLUE), "refine": ("stage 2, refine", PURPLE)}


def draw_search(figure: FigureBase, fuse: StepReport) -> None:
    """Draw the model's belief of the loss and its uncertainty over (α, β), and the probes."""
    if fuse.surface is None:
        _draw_probes(figure.subplots(), fuse)
        return
    left, right = figure.subplots(1, 2, sharey=True)
    grid = np.array(fuse.surface.loss, dtype=float)
    _draw_map(figure, left, fuse.surface, grid, "nats", logarithmic=True)
    left.set_title("Validation loss, as the model expects it")
    deviation = 100 * np.array(fuse.surface.deviation, dtype=float)
    _draw_map(figure, right, fuse.surface, deviation, "± %, one standard deviation", logarithmic=False)
    right.set_title("How uncertain that is")
    for axes in (left, right):
        _draw_probes(axes, fuse)
    right.set_ylabel("")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=4)


def _draw_map(
    figure: FigureBase, axes: Axes, surface: Surface, grid: np.ndarray, unit: str, *, logarithmic: bool
) -> None:
    alpha, beta = np.array(surface.alpha, dtype=float), np.array(surface.beta, dtype=float)
    low, high = float(grid.min()), float(grid.max())
    if logarithmic:
        high = min(high, HIGHEST * low)
    if high - low <= FLAT * abs(high):
        high = low + FLAT * max(abs(low), FLAT)
    levels = np.geomspace(low, high, LEVELS) if logarithmic else np.linspace(low, high, LEVELS)
    norm = LogNorm(low, high) if logarithmic else None
    filled = axes.contourf(alpha, beta, grid, levels=levels, norm=norm, cmap=COLOUR_MAP, extend="both")
    bar = figure.colorbar(filled, ax=axes, label=unit, shrink=0.95)
    bar.set_ticks(levels[::3].tolist(), labels=[f"{level:.3g}" for level in levels[::3]])
    bar.minorticks_off()
    axes.grid(visible=False)


def _draw_probes(axes: Axes, fuse: StepReport) -> None:
    port, *others = fuse.probes
    full = [probe for probe in others if probe.count == port.count]
    screened = [probe for probe in others if probe.count != port.count]
    _mark(axes, [port], "s", (BLACK, WHITE), f"ported, (0, 1), on {port.count} examples")
    _mark(axes, full, "o", (BLACK, WHITE), f"probe on {port.count} examples")
    if screened:
        _mark(axes, screened, "o", (WHITE, BLACK), f"probe on {screened[0].count}")
    if fuse.alpha is not None and fuse.beta is not None:
        point = ([float(fuse.alpha)], [float(fuse.beta)])
        axes.scatter(*point, marker="*", s=170, color=RED, edgecolors=WHITE, label="used", clip_on=False, zorder=6)
    axes.set(xlabel="α, share of the base's delta", ylabel="β, factor of the old adapter")
    axes.margins(0.04)


def _mark(axes: Axes, probes: Sequence[Probe], marker: str, colours: tuple[str, str], label: str) -> None:
    if not probes:
        return
    points = ([float(probe.alpha) for probe in probes], [float(probe.beta) for probe in probes])
    face, edge = colours
    drawn = axes.scatter(*points, marker=marker, s=42, facecolors=face, edgecolors=edge, linewidths=1.2, label=label)
    drawn.set(zorder=5, clip_on=False)  # marks on the box's edge are drawn whole


def draw_training(figure: FigureBase, stages: Mapping[Step, StepReport], metric: Metric) -> None:
    """Draw the learning curves of the stages and the anchor's pull.

    Args:
        figure: To draw into.
        stages: Reports that have a curve, in order.
        metric: Of the looks at the monitor examples.
    """
    curves = {step: report.curve for step, report in stages.items() if report.curve is not None}
    looked = any(curve.looks for curve in curves.values())
    names = ["loss", "monitor", "drift", "penalty"] if looked else ["loss", "drift", "penalty"]
    rows = 2 if looked else 1
    axes = dict(zip(names, np.ravel(figure.subplots(rows, len(names) // rows, sharex=True)), strict=True))
    axes["loss"].set(title="Task loss", ylabel="nats")
    axes["drift"].set(title="Distance from the start, ‖θ − θ_init‖")
    axes["penalty"].set(title="Anchor's term, λ/2·‖θ − θ_init‖²", ylabel="nats")
    for step, curve in curves.items():
        label, colour = STAGES[step]
        _draw_noisy(axes["loss"], curve.steps, [float(value) for value in curve.loss], colour, label)
        for name, values in (("drift", curve.drift), ("penalty", curve.penalty)):
            axes[name].plot(curve.steps, [float(value) for value in values], color=colour)
    if looked:
        axes["monitor"].set(title=f"{metric} on the monitor examples")
        _draw_looks(axes["monitor"], curves)
    for axis in axes.values():
        _draw_ends(axis, stages, curves)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        if axis.get_subplotspec() is None or axis.get_subplotspec().is_last_row():
            axis.set_xlabel("optimizer steps")
    figure.legend(*axes["loss"].get_legend_handles_labels(), loc="outside lower left", ncols=5)


def _draw_noisy(axes: Axes, steps: Sequence[int], values: Sequence[float], colour: str, label: str) -> None:
    """Draw what was measured thinly, and its moving average over a tenth of the points."""
    window = max(1, len(values) // 10)
    axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.55 if window > 1 else 1)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps[window - 1 :], smooth, color=colour, label=label)


def _draw_looks(axes: Axes, curves: Mapping[Step, LearningCurve]) -> None:
    for step, curve in curves.items():
        colour = STAGES[step][1]
        for ready, face in ((True, colour), (False, "none")):
            looks = [look for look in curve.looks if look.ready is ready]
            points = ([look.step for look in looks], [float(look.value) for look in looks])
            axes.scatter(*points, s=26, facecolors=face, edgecolors=colour)
        axes.plot(
            [look.step for look in curve.looks], [float(look.value) for look in curve.looks], color=colour, lw=0.8
        )
    reference = next((curve.look_reference for curve in curves.values() if curve.look_reference), None)
    if reference is not None:
        axes.axhline(float(reference), color=INK, linestyle="--", linewidth=1)


def _draw_ends(axes: Axes, stages: Mapping[Step, StepReport], curves: Mapping[Step, LearningCurve]) -> None:
    """Mark where each stage ended and what the gate said there."""
    for step, curve in curves.items():
        verdict = stages[step].verdict
        if verdict is None:
            continue
        marker, colour = VERDICTS[verdict]
        end = curve.steps[-1]
        axes.axvline(end, color=colour, linewidth=1, linestyle=":")
        axes.plot(
            [end],
            [1.0],
            marker=marker,
            color=colour,
            linestyle="none",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label=f"gate after {step}: {verdict}",
        )


def draw_gates(figure: FigureBase, judged: Mapping[Step, StepReport]) -> None:
    """Draw what each gate measured after each step, with its interval, the reference and the bound."""
    metrics = [gate.metric for gate in next(iter(judged.values())).gates]
    for number, axes in enumerate(np.ravel(figure.subplots(len(metrics), 1, squeeze=False))):
        _draw_gate(axes, {step: report.gates[number] for step, report in judged.items()})


def _draw_gate(axes: Axes, gates: Mapping[Step, GateEvidence]) -> None:
    first = next(iter(gates.values()))
    for row, gate in enumerate(gates.values()):
        marker, colour = VERDICTS[gate.verdict]
        axes.plot([float(gate.low), float(gate.high)], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([float(gate.value)], [row], marker=marker, color=colour, markersize=8, linestyle="none")
        text = f"{float(gate.value):.4g}  {gate.verdict}"
        axes.annotate(
            text,
            (float(gate.value), row),
            (0, 8),
            textcoords="offset points",
            ha="center",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )
    if first.reference is not None:
        axes.axvline(float(first.reference), color=INK, linestyle="--", linewidth=1, label="old pair on its own base")
    if first.reference is not None and first.max_regression is not None:
        sign = 1 if first.metric is Metric.LOSS else -1
        bound = float(first.reference) + sign * float(first.max_regression)
        axes.axvspan(
            *sorted((float(first.reference), bound)), color=SKY, alpha=0.25, lw=0, label="within maxRegression"
        )
    if first.threshold is not None:
        axes.axvline(float(first.threshold), color=PURPLE, linestyle=":", linewidth=1.6, label="threshold")
    axes.set_yticks(range(len(gates)), list(gates))
    axes.set_ylim(len(gates) - 0.4, -0.7)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    better = "lower is better" if first.metric is Metric.LOSS else "higher is better"
    axes.set_title(f"{first.metric} on {first.count} test examples, {better}")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)


def draw_seconds(figure: FigureBase, reports: Mapping[Step, StepReport]) -> None:
    """Draw where the time of each step went."""
    axes = figure.subplots()
    times = {step: dict(report.seconds) for step, report in reports.items()}
    left = np.zeros(len(times))
    for part, colour in PARTS.items():
        widths = np.array([float(seconds[part]) for seconds in times.values()])
        if widths.any():
            axes.barh(range(len(times)), widths, left=left, color=colour, label=part, height=0.62)
        left += widths
    for row, total in enumerate(left):
        axes.annotate(f"{total:.1f} s", (total, row), (4, 0), textcoords="offset points", va="center", color=INK)
    axes.set_yticks(range(len(times)), list(times))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("seconds")
    if left.any():
        figure.legend(loc="outside lower left", ncols=len(PARTS))


def draw_modules(figure: FigureBase, grids: Mapping[str, ModuleGrid]) -> None:
    """Draw one value of every module, the decoder blocks from left to right; one map for each of `grids`."""
    for axes, (title, grid) in zip(np.ravel(figure.subplots(len(grids), 1, squeeze=False)), grids.items(), strict=True):
        image = axes.imshow(grid.values, aspect="auto", cmap=COLOUR_MAP, interpolation="nearest")
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set_yticks(range(len(grid.names)), list(grid.names))
        columns = MaxNLocator(integer=True, nbins=15).tick_values(0, len(grid.blocks) - 1)
        ticks = [int(column) for column in columns if 0 <= column < len(grid.blocks)]
        axes.set_xticks(ticks, [str(grid.blocks[tick]) for tick in ticks])
        axes.set_title(title)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    axes.set_xlabel("decoder block")

"""The page and its picture, from a request and its reports: the same input gives the same bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import FigureBase

from relora_contract.report import Step, StepOutcome, StepReport, Verdict
from relora_contract.request import ReadaptationRequest
from relora_trainer.page.modules import module_grid
from relora_trainer.page.panels import draw_gates, draw_modules, draw_search, draw_seconds, draw_training
from relora_trainer.page.style import Draw, as_png, as_svg
from relora_trainer.page.tables import (
    Table,
    bounds,
    curve_table,
    duration,
    facts,
    gates_table,
    modules_table,
    number,
    probes_table,
    seconds_of,
    seconds_table,
    steps_table,
)

WIDTH = 9.6
"""Of every figure, in inches."""


@dataclass(frozen=True)
class Panel:
    """One figure of the page, with what it shows in words and in numbers."""

    name: str
    title: str
    caption: str
    description: str
    height: float
    draw: Draw
    table: Table

    @property
    def svg(self) -> Markup:
        """The figure, for the page. matplotlib escapes the texts in it."""
        return Markup(as_svg(self.name, self.draw, width=WIDTH, height=self.height))  # noqa: S704


@dataclass(frozen=True)
class Tile:
    """One number that matters, with what it is to be compared with."""

    name: str
    value: str
    note: str


def page(request: ReadaptationRequest, reports: Mapping[Step, StepReport]) -> str:
    """Return the page as HTML: whole in one file, without scripts, readable without a network.

    Args:
        request: Of the re-adaptation.
        reports: Of its steps, in order; those that were skipped are passed over. At least one was not.
    """
    done = _done(reports)
    environment = Environment(
        loader=PackageLoader("relora_trainer.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        old=request.source_base.release_name,
        new=request.target_base.release_name,
        strategy=request.items[0].plan.strategy,
        ended=list(done.values())[-1].end_time,
        verdict=_verdict(done),
        passed=any(report.verdict is Verdict.PASSED for report in done.values()),
        tiles=_tiles(request, done),
        steps=steps_table(done),
        left=[step for step in request.items[0].plan.steps if step not in reports],
        skipped=[step for step, report in reports.items() if report.outcome is StepOutcome.SKIPPED],
        warnings=[(step, warning) for step, report in done.items() for warning in report.warnings],
        panels=list(_panels(request, done)),
        facts=facts(request, done),
    )


def picture(request: ReadaptationRequest, reports: Mapping[Step, StepReport]) -> bytes:
    """Return all figures of the page, one below the other, as PNG."""
    panels = list(_panels(request, _done(reports)))
    heights = [panel.height + 0.4 for panel in panels]

    def draw(figure: FigureBase) -> None:
        parts = figure.subfigures(len(panels), 1, height_ratios=heights, squeeze=False)
        for panel, part in zip(panels, parts.flat, strict=True):
            part.suptitle(panel.title, x=0.01, ha="left", fontweight="bold")
            panel.draw(part)

    return as_png(draw, width=WIDTH, height=sum(heights))


def _done(reports: Mapping[Step, StepReport]) -> dict[Step, StepReport]:
    return {step: report for step, report in reports.items() if report.outcome is StepOutcome.SUCCEEDED}


def _verdict(done: Mapping[Step, StepReport]) -> str:
    passed = next((step for step, report in done.items() if report.verdict is Verdict.PASSED), None)
    if passed is not None:
        return f"Gate passed after {passed}"
    judged = [report.verdict for report in done.values() if report.verdict is not None]
    return f"Gate {judged[-1].lower()} after {list(done)[-1]}" if judged else "Not judged"


def _tiles(request: ReadaptationRequest, done: Mapping[Step, StepReport]) -> list[Tile]:
    passed = [step for step, report in done.items() if report.verdict is Verdict.PASSED]
    judged = [step for step, report in done.items() if report.gates]
    tiles = []
    if judged:
        gate = done[passed[0] if passed else judged[-1]].gates[0]
        notes = [bounds(gate), f"old pair on its base {number(gate.reference)}" if gate.reference else ""]
        tiles.append(
            Tile(f"{gate.metric} on {gate.count} test examples", number(gate.value), "; ".join(filter(None, notes)))
        )
    fuse = done.get("fuse")
    if fuse is not None:
        pair = f"{number(fuse.alpha)}, {number(fuse.beta)}" if fuse.alpha and fuse.beta else "one pair per module"
        tiles.append(Tile("α, β", pair, f"{len(fuse.probes)} probes; ported is 0, 1"))
    steps = sum(report.optimizer_steps for report in done.values())
    if steps:
        tiles.append(Tile("optimizer steps", str(steps), f"batches of {request.items[0].plan.batch_size}"))
    spent = sum(map(seconds_of, done.values()))
    until = list(done)[: list(done).index(passed[0]) + 1] if passed else []
    ready = duration(sum(seconds_of(done[step]) for step in until))
    tiles.append(Tile("time of all steps", duration(spent), f"until the gate was passed: {ready}" if passed else ""))
    return tiles


def _panels(request: ReadaptationRequest, done: Mapping[Step, StepReport]) -> Iterator[Panel]:
    item = request.items[0]
    judged = {step: report for step, report in done.items() if report.gates}
    if judged:
        yield Panel(
            "gate",
            "The gate after each step",
            "Bars are the metric's own 95 % interval. With maxRegression the verdict is that of the paired test, which "
            "compares the two adapters on the same examples and is sharper than the bars look.",
            "Point estimates and intervals of each step's adapter beside the old pair's value and the bounds.",
            len(item.gates) * (1.3 + 0.42 * len(judged)),
            partial(draw_gates, judged=judged),
            gates_table(judged),
        )
    fuse = done.get("fuse")
    if fuse is not None and fuse.probes:
        yield Panel(
            "search",
            "Search of the fusion coefficients",
            "Θ_init(α, β) = α·Π_r(ΔΘ) + β·ΔΘ_i. The model is the search's Gaussian process after its last probe.",
            "Maps of the expected validation loss and of its uncertainty over α and β, with the probed points.",
            3.7,
            partial(draw_search, fuse=fuse),
            probes_table(fuse),
        )
    stages = {step: report for step, report in done.items() if report.curve is not None}
    if stages:
        looked = any(report.curve.looks for report in stages.values() if report.curve)
        yield Panel(
            "training",
            "Training in two stages",
            "Thick: the moving average of the loss over a tenth of the points. Filled marks: the monitor examples said "
            "ready. Dashed: the old pair on the same examples. Dotted lines: where the gate was asked.",
            "Task loss, quality on the monitor examples, distance from the start and the anchor's term by step.",
            4.6 if looked else 2.6,
            partial(draw_training, stages=stages, metric=item.gates[0].metric),
            curve_table(stages),
        )
    yield Panel(
        "seconds",
        "Where the time went",
        "Seconds by part, of the attempt that ended the step; without the start of the container.",
        "Stacked bars of the seconds of each step by part.",
        1.2 + 0.36 * len(done),
        partial(draw_seconds, reports=done),
        seconds_table(done),
    )
    if fuse is not None and fuse.captured_energy:
        grids = {"Captured energy: share of the squared norm of the base's delta": module_grid(fuse.captured_energy)}
        if fuse.module_fit is not None:
            fitted, used = fuse.module_fit.coefficients, "" if fuse.module_fit.used else ", not used"
            grids[f"α of each module{used}"] = module_grid({name: pair.alpha for name, pair in fitted.items()})
            grids[f"β of each module{used}"] = module_grid({name: pair.beta for name, pair in fitted.items()})
        rows = len(next(iter(grids.values())).names)
        yield Panel(
            "modules",
            "Adapted modules",
            "What the projection of the base's change to the adapter's rank keeps of it, module by module.",
            "Maps with decoder blocks across and linear layers down.",
            len(grids) * (0.9 + 0.24 * rows),
            partial(draw_modules, grids=grids),
            modules_table(fuse),
        )

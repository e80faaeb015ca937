"""What the page says in words and numbers: rows of text, from the request and the reports."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic.types import JsonValue

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_contract.report import GateEvidence, MetricValue, SplitUse, Step, StepReport
from relora_contract.request import ReadaptationItem, ReadaptationRequest
from relora_contract.task import Gate
from relora_store.sizes import human_size

DIGITS = 4
SHORT_DIGEST = 12


@dataclass(frozen=True)
class Table:
    """A table; cells are plain text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for.

    Attributes:
        title: Of them all.
        rows: Names and values.
        short: Whether the values are short enough for two columns.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    short: bool = False


def number(text: str | None) -> str:
    """Return a decimal with four significant digits, or an empty text."""
    return "" if text is None else f"{float(text):.{DIGITS}g}"


def interval(value: MetricValue | GateEvidence) -> str:
    """Return a value with its interval, as in `0.853 (0.83–0.874)`."""
    limits = bounds(value)
    return f"{number(value.value)} ({limits})" if limits else number(value.value)


def bounds(value: MetricValue | GateEvidence) -> str:
    """Return the interval of a value, as in `0.83–0.874`; empty where there is none."""
    if value.low is None or value.high is None or value.low == value.high:
        return ""
    return f"{number(value.low)}–{number(value.high)}"


def seconds_of(report: StepReport) -> float:
    """Return the sum over a report's parts."""
    return sum(float(value) for _, value in report.seconds)


def duration(seconds: float) -> str:
    """Return a time as in `42.1 s`, `12 min 5 s` or `3 h 7 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def steps_table(reports: Mapping[Step, StepReport]) -> Table:
    """Return what each step came to."""
    metrics = list(dict.fromkeys(value.metric for report in reports.values() for value in report.quality))
    rows = []
    for step, report in reports.items():
        measured = {value.metric: interval(value) for value in report.quality}
        rows.append(
            (
                step,
                report.verdict or "not judged",
                *(measured.get(metric, "") for metric in metrics),
                number(report.alpha),
                number(report.beta),
                str(report.optimizer_steps),
                duration(seconds_of(report)),
                hex_part(report.artifact.digest)[:SHORT_DIGEST] if report.artifact else "none",
            )
        )
    return Table(("step", "gate", *metrics, "α", "β", "optimizer steps", "time", "adapter"), tuple(rows))


def gates_table(judged: Mapping[Step, StepReport]) -> Table:
    """Return the evidence of every gate after every step."""
    header = (
        *("step", "metric", "verdict", "value (95 %)", "old pair", "difference", "maxRegression", "threshold"),
        *("gained", "lost", "level", "examples", "needed", "other readings"),
    )
    rows = tuple(
        (
            step,
            gate.metric,
            gate.verdict,
            interval(gate),
            number(gate.reference),
            number(gate.difference),
            gate.max_regression or "",
            gate.threshold or "",
            _count(gate.gained),
            _count(gate.lost),
            number(gate.level),
            str(gate.count),
            _count(gate.items_needed),
            _uses(report.split_use),
        )
        for step, report in judged.items()
        for gate in report.gates
    )
    return Table(header, rows)


def probes_table(fuse: StepReport) -> Table:
    """Return the probes in the order in which they were made."""
    rows = tuple(
        (
            str(order),
            number(probe.alpha),
            number(probe.beta),
            number(probe.loss),
            number(probe.standard_error),
            str(probe.count),
            number(probe.seconds),
        )
        for order, probe in enumerate(fuse.probes, start=1)
    )
    return Table(("probe", "α", "β", "loss", "standard error", "examples", "seconds"), rows)


def curve_table(stages: Mapping[Step, StepReport]) -> Table:
    """Return the points of the learning curves."""
    rows = tuple(
        (step, str(number_of), number(loss), number(drift), number(penalty))
        for step, report in stages.items()
        if report.curve is not None
        for number_of, loss, drift, penalty in zip(
            report.curve.steps, report.curve.loss, report.curve.drift, report.curve.penalty, strict=True
        )
    )
    return Table(("stage", "optimizer step", "loss", "‖θ − θ_init‖", "λ/2·‖θ − θ_init‖²"), rows)


def seconds_table(reports: Mapping[Step, StepReport]) -> Table:
    """Return the seconds of each part of each step."""
    first = next(iter(reports.values()))
    parts = [part for part, _ in first.seconds]
    rows = tuple((step, *(str(value) for _, value in report.seconds)) for step, report in reports.items())
    return Table(("step", *parts), rows)


def modules_table(fuse: StepReport) -> Table:
    """Return what is known of each adapted module."""
    fitted = fuse.module_fit.coefficients if fuse.module_fit else {}
    header = ("module", "captured energy", *(("α", "β") if fitted else ()))
    rows = tuple(
        (module, number(share), *((number(fitted[module].alpha), number(fitted[module].beta)) if fitted else ()))
        for module, share in fuse.captured_energy.items()
    )
    return Table(header, rows)


def facts(request: ReadaptationRequest, reports: Mapping[Step, StepReport]) -> list[Facts]:
    """Return where everything came from and how it was set."""
    item, last = request.items[0], list(reports.values())[-1]
    plan = item.plan.to_json()
    published = [
        (f"adapter of {step}", _pinned(report.artifact))
        for step, report in reports.items()
        if report.artifact is not None
    ]
    accelerator = max(report.accelerator_peak_memory_bytes for report in reports.values())
    return [
        Facts(
            "Inputs",
            (
                ("request digest", item.request_digest),
                ("old base", _pinned(request.source_base, request.source_base.release_name)),
                ("new base", _pinned(request.target_base, request.target_base.release_name)),
                ("old adapter", _pinned(item.adapter)),
                *((("delta of the bases", _pinned(request.delta)),) if request.delta else ()),
                *((f"{name} data", _pinned(ref)) for name, ref in item.dataset),
            ),
        ),
        Facts("Task and gate", (*_task(item), *(("gate", _gate(gate)) for gate in item.gates))),
        Facts("Settings", tuple((name, _setting(value)) for name, value in plan.items()), short=True),
        Facts("Published", tuple(published)),
        Facts(
            "Machine and versions",
            (
                ("image", request.image or "none: a local run"),
                ("peak memory", human_size(max(report.peak_memory_bytes for report in reports.values()))),
                ("started", next(iter(reports.values())).start_time),
                ("ended", last.end_time),
                *((("accelerator's peak memory", human_size(accelerator)),) if accelerator else ()),
                *last.machine.items(),
                *last.versions.items(),
            ),
            short=True,
        ),
    ]


def _pinned(ref: ArtifactRef, name: str = "") -> str:
    """Return where an artifact lies; a manifest's URI holds its digest."""
    return "\n".join(filter(None, (name, ref.uri, "" if ref.is_manifest else ref.digest)))


def _task(item: ReadaptationItem) -> tuple[tuple[str, str], ...]:
    task = item.task
    messages = [f"{message.role}: {message.content}" for message in task.messages or []]
    return (
        ("kind", task.kind),
        ("prompt", task.prompt_template or "\n".join(messages)),
        ("expected", f"the field {task.completion_field}"),
        ("choices", ", ".join(task.choices) if task.choices else "none: the answer is decoded"),
        ("longest example", f"{task.effective_max_length} tokens"),
    )


def _gate(gate: Gate) -> str:
    bounds = (("threshold", gate.threshold), ("maxRegression", gate.max_regression))
    return f"{gate.metric}, " + ", ".join(f"{name} {bound}" for name, bound in bounds if bound is not None)


def _setting(value: JsonValue) -> str:
    return f"{value['min']} to {value['max']}" if isinstance(value, dict) else str(value)


def _uses(use: SplitUse | None) -> str:
    """Return how often other gates were asked on the same examples; empty where it was not recorded."""
    return "" if use is None else f"{use.readings}, of {use.requests} other requests"


def _count(value: int | None) -> str:
    return "" if value is None else str(value)

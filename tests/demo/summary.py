"""What came out: facts from the cluster and the store, and three plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.requests_log import Request
from demo.table import World

Json = dict[str, Any]
STEPS = ("port", "fuse", "recover", "refine")
NAMES = {
    "port": "old adapter, unchanged (ported)",
    "fuse": "fused",
    "recover": "after stage 1",
    "refine": "after stage 2",
}


def print_summary(
    console: Console, world: World, reports: Mapping[str, Mapping[str, Json]], requests: Sequence[Request]
) -> None:
    """Print time to readiness, coefficients, quality by step and failed requests."""
    for name, binding in world.bindings.items():
        current = binding["status"]["current"]
        steps = reports.get(name, {})
        table = Table(title=f"{name}: {current['releaseName']}", title_justify="left")
        for column in ("adapter", "α", "β", "Accuracy", "95 %", "Loss", "gate"):
            table.add_column(column)
        reference = next(
            (gate["reference"] for gate in steps.get("port", {}).get("gates", []) if gate.get("reference")), None
        )
        if reference is not None:
            table.add_row("old pair on its own base", "", "", f"{float(reference):.3f}", "", "", "")
        for step in STEPS:
            report = steps.get(step)
            if report is None:
                continue
            # Where the search found nothing better, what it hands on is the ported adapter, and nothing was measured.
            as_ported = step == "fuse" and not report.get("quality")
            measured = {**steps["port"], "verdict": "as ported"} if as_ported else report
            table.add_row(NAMES[step], *_cells(measured))
        console.print(table)
        console.print(
            f"time to readiness {current.get('timeToReadinessSeconds', '?')} s from apply to the first passed gate"
        )
    failed = [request for request in requests if not request.ok]
    console.print(f"requests through the Service: {len(requests)}, failed: {len(failed)}")
    for request in failed[:5]:
        console.print(f"  [red]{request.model}: {request.error}")


def _cells(report: Json) -> list[str]:
    metrics = {one["metric"]: one for one in report.get("quality", [])}
    accuracy, loss = metrics.get("Accuracy"), metrics.get("Loss")
    return [
        _number(report.get("alpha"), 2),
        _number(report.get("beta"), 2),
        _number(accuracy["value"], 3) if accuracy else "",
        f"{float(accuracy['low']):.3f} to {float(accuracy['high']):.3f}" if accuracy else "",
        _number(loss["value"], 3) if loss else "",
        report.get("verdict", ""),
    ]


def _number(text: str | None, digits: int) -> str:
    return f"{float(text):.{digits}f}" if text is not None else ""


def write_plots(reports: Mapping[str, Mapping[str, Json]], requests: Sequence[Request], folder: Path) -> list[Path]:
    """Draw quality by step, the probes of the search and the requests over time, and return the files."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of import that only the end of the demonstration needs

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, steps in reports.items():
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
        shown = [step for step in STEPS if steps.get(step, {}).get("quality")]
        metrics = [next(one for one in steps[step]["quality"] if one["metric"] == "Accuracy") for step in shown]
        values = [float(one["value"]) for one in metrics]
        below = [value - float(one["low"]) for value, one in zip(values, metrics, strict=True)]
        above = [float(one["high"]) - value for value, one in zip(values, metrics, strict=True)]
        left.errorbar(shown, values, yerr=[below, above], fmt="o", capsize=4)
        reference = next((gate["reference"] for gate in steps["port"]["gates"] if gate.get("reference")), None)
        if reference is not None:
            left.axhline(float(reference), linestyle="--", color="grey", label="old pair on its own base")
            left.legend()
        left.set_title(f"{name}: accuracy on the test set by step")
        probes = steps.get("fuse", {}).get("probes", [])
        if probes:
            points = right.scatter(
                [float(probe["alpha"]) for probe in probes],
                [float(probe["beta"]) for probe in probes],
                c=[float(probe["loss"]) for probe in probes],
                cmap="viridis_r",
                norm="log",
                s=60,
            )
            figure.colorbar(points, ax=right, label="validation loss")
            right.set(xlabel="α, share of the base's delta", ylabel="β, factor of the old adapter")
            right.set_title("probes of the search")
        else:
            right.set_axis_off()
            right.set_title("no search was needed")
        written.append(folder / f"{name}.png")
        figure.tight_layout()
        figure.savefig(written[-1], dpi=110)
        plt.close(figure)
    written.append(_plot_requests(requests, folder / "requests.png"))
    return written


def _plot_requests(requests: Sequence[Request], path: Path) -> Path:
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axis = plt.subplots(figsize=(11, 3))
    start = requests[0].time if requests else 0.0
    for ok, colour, label in ((True, "tab:blue", "answered"), (False, "tab:red", "failed")):
        chosen = [request for request in requests if request.ok is ok]
        axis.scatter(
            [request.time - start for request in chosen],
            [request.seconds for request in chosen],
            s=6,
            color=colour,
            label=f"{label} ({len(chosen)})",
        )
    axis.set(xlabel="seconds since traffic started", ylabel="seconds per request", title="requests through the Service")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path

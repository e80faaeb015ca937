"""What came out: facts from the cluster and the store, and a plot of the requests."""

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


def plot_requests(requests: Sequence[Request], path: Path) -> Path:
    """Draw the requests over time, and return the file."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of import that only the end of the demonstration needs

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
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

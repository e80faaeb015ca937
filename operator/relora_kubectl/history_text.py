"""The view of a history in words."""

from collections.abc import Sequence

from relora_contract.report import MetricValue
from relora_kubectl.history import Entry, HistoryView, Step
from relora_kubectl.kinds import full_name
from relora_kubectl.tables import Block, Note, Table
from relora_kubectl.wording import human_duration

DIGEST_CHARACTERS = len("sha256:") + 12


def history_blocks(view: HistoryView) -> list[Block]:
    """Return the view as tables: the records, then the steps of the candidate."""
    title = f"{view.kind} {full_name(view.namespace, view.name)}"
    status = f": {view.status.reason}: {view.status.message}" if view.status is not None else ": NotSeen"
    remedy: list[Block] = [Note(view.status.remedy)] if view.status is not None and view.status.remedy else []
    if not view.entries:
        return [Note(f"{title}{status}"), *remedy, Note("nothing is recorded yet")]
    sets = any(entry.adapters is not None for entry in view.entries)
    header = ("record", "release", "state", "time", "set", "adapters", "message")
    if not sets:
        header = ("record", "release", "state", "time", "adapter", "quality", "message")
    rows = tuple(_entry(entry, sets=sets) for entry in view.entries)
    steps = Table(
        ("step", "state", "verdict", "time", "alpha", "beta", "quality", "message"),
        tuple(_step(step) for step in view.steps),
    )
    return [Note(f"{title}{status}"), *remedy, Table(header, rows), steps]


def _entry(entry: Entry, *, sets: bool) -> tuple[str, ...]:
    held = "" if entry.adapters is None else str(entry.adapters)
    return (
        entry.record,
        entry.release_name,
        entry.state,
        entry.time or "",
        (entry.digest or "")[:DIGEST_CHARACTERS],
        held if sets else _quality(entry.quality),
        entry.message,
    )


def _step(step: Step) -> tuple[str, ...]:
    return (
        step.name,
        step.outcome or step.state,
        step.verdict or "",
        "" if step.seconds is None else human_duration(step.seconds),
        step.alpha or "",
        step.beta or "",
        _quality(step.quality),
        step.message,
    )


def _quality(values: Sequence[MetricValue]) -> str:
    return ", ".join(f"{value.metric} {value.value}" for value in values)

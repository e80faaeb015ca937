"""The live table: where the release, the bindings and the server are, and how the traffic fares."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from demo import places
from demo.requests_log import Request
from devcluster.node import Node

Json = dict[str, Any]
MARKS = {"Passed": "[green]passed[/]", "Failed": "[yellow]below the gate[/]", "Inconclusive": "[yellow]inconclusive[/]"}


@dataclass(frozen=True)
class World:
    """The project's objects at one moment, by kind and name."""

    releases: dict[str, Json]
    bindings: dict[str, Json]
    servers: dict[str, Json]

    @classmethod
    def read(cls, node: Node) -> "World":
        """Read them from the API."""
        items = json.loads(node.kubectl("get", "bmr,adb,ads", "--all-namespaces", "--output", "json"))["items"]

        def of(kind: str) -> dict[str, Json]:
            return {item["metadata"]["name"]: item for item in items if item["kind"] == kind}

        return cls(of("BaseModelRelease"), of("AdapterBinding"), of("AdapterServer"))

    @property
    def served_release(self) -> str:
        """The release that the server serves, or an empty string."""
        current = self.servers.get(places.SERVER, {}).get("status", {}).get("current") or {}
        return str(current.get("releaseName", ""))


def condition(thing: Json, kind: str) -> Json:
    """Return a condition of an object; without it, an empty one."""
    conditions = thing.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


@dataclass(frozen=True)
class Row:
    """One line of the table, in rich's markup."""

    what: str
    state: str
    details: str


def draw(rows: Iterable[Row], elapsed: str) -> Table:
    """Return the table."""
    table = Table(title=f"release {places.R2}   {elapsed}", title_justify="left", expand=True)
    for column in ("what", "state", "details"):
        table.add_column(column, ratio=1 if column == "details" else None)
    for row in rows:
        table.add_row(row.what, row.state, row.details)
    return table


def changed(before: Iterable[Row], after: Iterable[Row]) -> list[Row]:
    """Return the rows whose state is another one: what a log tells in place of the table."""
    known = {row.what: row.state for row in before}
    return [row for row in after if known.get(row.what) != row.state]


def rows_of(world: World, requests: Sequence[Request]) -> Iterator[Row]:
    """Yield a line for the release, each binding with its steps, each server, and the requests."""
    release = world.releases.get(places.R2)
    if release is not None:
        counts = release.get("status", {}).get("bindings") or {}
        deltas = release.get("status", {}).get("deltas") or []
        delta = "delta stored" if any(one.get("digest") for one in deltas) else "delta pending"
        yield Row(
            f"release {places.R2}",
            condition(release, "Complete").get("reason", "-"),
            f"{delta}; " + ", ".join(f"{number} {name}" for name, number in counts.items() if number),
        )
    for name, binding in world.bindings.items():
        yield Row(
            f"binding {name}",
            condition(binding, "UpToDate").get("reason", "-"),
            condition(binding, "UpToDate").get("message", ""),
        )
        for step in (binding.get("status", {}).get("candidate") or {}).get("steps", []):
            yield Row(f"  step {step['name']}", _step_state(step), _step_details(step))
    for name, server in world.servers.items():
        current = server.get("status", {}).get("current") or {}
        yield Row(
            f"server {name}",
            condition(server, "UpToDate").get("reason", "-"),
            f"serves {current.get('adapters', 0)} adapters on {current.get('releaseName', 'nothing yet')}",
        )
    failed = sum(not request.ok for request in requests)
    last = f"last: {requests[-1].model} → {requests[-1].answer or requests[-1].error}" if requests else ""
    yield Row("requests", f"[{'red' if failed else 'green'}]{failed} failed[/]", f"of {len(requests)}; {last}")


def _step_state(step: Json) -> str:
    if step.get("outcome") == "Skipped":
        return "[dim]skipped[/]"
    if step["state"] == "Finished":
        return MARKS.get(step.get("verdict", ""), str(step.get("outcome", "finished")).lower())
    return "[cyan]running[/]" if step["state"] == "Running" else "[dim]pending[/]"


def _step_details(step: Json) -> str:
    parts = []
    if step.get("startTime"):
        parts.append(f"{seconds_of(step):.0f} s")
    if step.get("beta") is not None:
        parts.append(f"α {float(step['alpha']):.2f}, β {float(step['beta']):.2f}")
    parts += [f"{one['metric']} {float(one['value']):.3f}" for one in step.get("quality", [])]
    return ", ".join(parts)


def seconds_of(step: Json) -> float:
    """Return how long a step took, or has taken so far."""
    end = moment(step["endTime"]) if step.get("endTime") else datetime.now(UTC)
    return (end - moment(step["startTime"])).total_seconds()


def moment(text: str) -> datetime:
    """Parse a time of the API."""
    return datetime.fromisoformat(text)

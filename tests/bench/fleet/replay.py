"""The control plane alone: the writes that the operator made for a release, without the operator.

The same Jobs under other names, as many statuses, Events and Job patches per binding, and the same roll-outs; no
reads and no watches. What the control plane sustains then is the most that any operator with these writes could reach.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bench.fleet.objects import MODEL
from bench.fleet.waiting import until
from bench.fleet.wire import Wire, at_once
from controller.api import Document

_RELEASE = "alone"
_MANAGER = "relora-operator"
_POLL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Score:
    """The objects of a release and how often each was written."""

    jobs: list[Document]
    bindings: list[Document]
    servers: list[Document]
    per_binding: Counter[tuple[str, str]]
    """Writes by verb and resource, per binding."""


async def score(wire: Wire, release: str, writes: Counter[tuple[str, str]]) -> Score:
    """Read what the operator made for a release; `writes` is what it sent for that."""
    jobs = await wire.all("Job", f"&labelSelector=relora.dev/release={release},relora.dev/job-kind=readaptation")
    bindings = [found async for found in _of_model(wire, "AdapterBinding")]
    servers = [found async for found in _of_model(wire, "AdapterServer")]
    return Score(jobs=jobs, bindings=bindings, servers=servers, per_binding=writes)


async def _of_model(wire: Wire, kind: str) -> AsyncIterator[Document]:
    async for page in wire.pages(kind):
        for item in page["items"]:
            if item["spec"]["model"] == MODEL:
                yield {"apiVersion": page["apiVersion"], "kind": kind, **item}


async def play(wire: Wire, played: Score, *, limit_seconds: float, say: Callable[[str], None]) -> float:
    """Send the writes and return the seconds until every Job is complete and every workload rolled out.

    Raises:
        TimeoutError: It took longer than the limit.
    """
    total = len(played.bindings)
    sent = dict.fromkeys(("statuses", "events", "patches", "server statuses"), 0)
    rounds = {
        "statuses": _times(played, "PATCH", "adapterbindings"),
        "events": _times(played, "POST", "events"),
        "server statuses": _times(played, "PATCH", "adapterservers", len(played.servers)),
    }
    start = time.monotonic()

    async def one(binding_and_job: tuple[Document, Document]) -> None:
        binding, job = binding_and_job
        for number in range(rounds["statuses"] // 2):
            await _write_status(wire, binding, number)
        created = await wire.create(_renamed(job))
        metadata = created["metadata"]
        await wire.merge("Job", metadata["name"], {"spec": {"ttlSecondsAfterFinished": 3600}}, metadata["namespace"])
        for number in range(rounds["events"]):
            await wire.create(_event(binding, number))
        for number in range(rounds["statuses"] // 2, rounds["statuses"]):
            await _write_status(wire, binding, number)
        sent["statuses"] += 1
        say(f"alone: {sent['statuses']} of {total} bindings written")

    async def serve(server: Document) -> None:
        for number in range(rounds["server statuses"]):
            await _write_status(wire, server, number)
        metadata = server["metadata"]
        patch = {"spec": {"template": {"metadata": {"annotations": {"bench": _RELEASE}}}}}
        await wire.merge("Deployment", server["spec"]["targetRef"]["name"], patch, metadata["namespace"])

    async with asyncio.timeout(limit_seconds):
        await at_once(zip(played.bindings, _by_binding(played), strict=True), one)
        await at_once(played.servers, serve)
        await _all_complete(wire, total, say)
    await until(lambda: _rolled_out(wire), limit_seconds=limit_seconds, pause_seconds=_POLL_SECONDS)
    return time.monotonic() - start


def _times(played: Score, verb: str, resource: str, among: int | None = None) -> int:
    return round(played.per_binding[verb, resource] / (among or len(played.bindings)))


def _by_binding(played: Score) -> list[Document]:
    jobs = {(job["metadata"]["namespace"], job["metadata"]["labels"]["relora.dev/binding"]): job for job in played.jobs}
    return [jobs[found["metadata"]["namespace"], found["metadata"]["name"]] for found in played.bindings]


def _renamed(job: Document) -> Document:
    metadata = job["metadata"]
    name = f"{metadata['name']}-{_RELEASE}"
    labels = {**metadata["labels"], "relora.dev/release": _RELEASE}
    template = job["spec"]["template"]
    kept = {
        key: value
        for key, value in template["metadata"]["labels"].items()
        if not key.startswith("batch.kubernetes.io/") and key not in {"controller-uid", "job-name"}
    }
    spec = {key: value for key, value in job["spec"].items() if key not in {"selector", "ttlSecondsAfterFinished"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": metadata["ownerReferences"],
        },
        "spec": {
            **spec,
            "template": {**template, "metadata": {**template["metadata"], "labels": kept}},
        },
    }


async def _write_status(wire: Wire, found: Document, number: int) -> None:
    status = found["status"]
    first, *rest = status["conditions"]
    changed = {**first, "message": f"written by the bench: {number}"}
    metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
    document = {**found, "metadata": metadata, "status": {**status, "conditions": [changed, *rest]}}
    del document["spec"]
    await wire.apply(document, _MANAGER, "/status")


def _event(binding: Document, number: int) -> Document:
    metadata = binding["metadata"]
    regarding = {"apiVersion": binding["apiVersion"], "kind": binding["kind"], "name": metadata["name"]}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{_RELEASE}-{number}", "namespace": metadata["namespace"]},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "relora.dev/operator",
        "reportingInstance": "bench",
        "action": "Reconcile",
        "reason": "Alone",
        "type": "Normal",
        "note": "the control plane alone",
        "regarding": {**regarding, "namespace": metadata["namespace"], "uid": metadata["uid"]},
    }


async def _all_complete(wire: Wire, total: int, say: Callable[[str], None]) -> None:
    selector = f"&labelSelector=relora.dev/release={_RELEASE}"
    complete: set[str] = set()
    async for _, job in wire.follow("Job", selector):
        if any(found["type"] == "Complete" for found in job["status"].get("conditions", [])):
            complete.add(job["metadata"]["uid"])
        say(f"alone: {len(complete)} of {total} Jobs complete")
        if len(complete) == total:
            return


async def _rolled_out(wire: Wire) -> bool:
    return all(
        found["status"].get("observedGeneration") == found["metadata"]["generation"]
        and found["status"].get("updatedReplicas") == found["status"].get("availableReplicas") == 1
        and found["status"].get("replicas") == 1
        for found in await wire.all("Deployment")
    )

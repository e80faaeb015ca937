"""Does the work of controller manager, scheduler and kubelet with as few writes as there can be.

With it the operator is the bottleneck: a Job gets its pod, the pod ends, the Job is complete, in three writes; a
Deployment is rolled out in one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from bench.fleet.wire import Wire
from controller.api import ApiError, Document
from controller.kubelet import ended_status, passes_at

_GONE = 404
_AT_ONCE = 16


@asynccontextmanager
async def finishing(wire: Wire) -> AsyncIterator[None]:
    """Finish what the operator starts, as long as the context lasts."""
    finisher = _Finisher(wire)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(finisher.follow_jobs(group)),
            group.create_task(finisher.follow_workloads(group)),
        ]
        yield
        for task in tasks:
            task.cancel()


class _Finisher:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._ending = passes_at("port")

    async def follow_jobs(self, group: asyncio.TaskGroup) -> None:
        async for kind, job in self._wire.follow("Job", "&labelSelector=relora.dev/job-kind"):
            if kind == "ADDED" and not job["status"].get("conditions"):
                group.create_task(self._finish(job))

    async def follow_workloads(self, group: asyncio.TaskGroup) -> None:
        async for kind, found in self._wire.follow("Deployment"):
            behind = found["metadata"]["generation"] > found["status"].get("observedGeneration", 0)
            if kind != "DELETED" and behind:
                group.create_task(self._roll_out(found))

    async def _finish(self, job: Document) -> None:
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        async with self._turn:
            try:
                pod = await self._wire.create(_pod_of(job))
                ended = {"status": ended_status(pod, self._ending)}
                await self._wire.merge("Pod", pod["metadata"]["name"], ended, namespace, "/status")
                await self._wire.merge("Job", name, {"status": _complete()}, namespace, "/status")
            except ApiError as error:
                if error.status != _GONE:
                    raise

    async def _roll_out(self, found: Document) -> None:
        metadata = found["metadata"]
        replicas = found["spec"]["replicas"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {"observedGeneration": metadata["generation"], **dict.fromkeys(counts, replicas)}
        async with self._turn:
            await self._wire.merge("Deployment", metadata["name"], {"status": status}, metadata["namespace"], "/status")


def _pod_of(job: Document) -> Document:
    template = job["spec"]["template"]
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{part: template["metadata"][part] for part in ("labels", "annotations")},
            "name": f"{metadata['name']}-pod",
            "namespace": metadata["namespace"],
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {**template["spec"], "nodeName": "kwok"},
    }


def _complete() -> Document:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    true = {"status": "True", "lastTransitionTime": now, "lastProbeTime": now, "reason": "CompletionsReached"}
    return {
        "startTime": now,
        "completionTime": now,
        "succeeded": 1,
        "conditions": [{"type": "SuccessCriteriaMet", **true}, {"type": "Complete", **true}],
    }

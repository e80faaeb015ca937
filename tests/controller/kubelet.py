"""Ends trainer pods and readies serving pods by writing their status: there is no node in these tests."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from controller.api import Api, ApiError, Document
from relora_contract.digests import sha256_digest

_BEAT_SECONDS = 10

Ending = Callable[[str, Document], tuple[int, Document]]
"""From step and request to exit code and notification (without the request's digest)."""

Lasting = Callable[[str, Document], float]
"""From step and request to the seconds that the step runs."""


def artifact_of(step: str, request_digest: str) -> str:
    """Return the digest of what the pretended step publishes."""
    return sha256_digest(f"{step} of {request_digest}".encode())


def passes_at(first: str) -> Ending:
    """End every step well; gates fail before `first`, pass there, and later steps are skipped."""

    def end(step: str, request: Document) -> tuple[int, Document]:
        published = {"artifactDigest": artifact_of(step, digest_of(request))}
        if step == "delta":
            return 0, {"outcome": "Succeeded", **published}
        order = ("port", "fuse", "recover", "refine")
        if order.index(step) > order.index(first):
            return 0, {"outcome": "Skipped"}
        verdict = "Passed" if step == first else "Failed"
        quality = [{"metric": "Accuracy", "value": "0.9", "count": 100}]
        return 0, {"outcome": "Succeeded", "verdict": verdict, "quality": quality, **published}

    return end


def ended_status(pod: Document, ending: Ending) -> Document:
    """Return the status of a trainer pod all of whose steps have ended, as far as `ending` lets them."""
    request = request_of(pod)
    first = [container["name"] for container in pod["spec"].get("initContainers", [])]
    last = [container["name"] for container in pod["spec"]["containers"]]
    ended: dict[str, list[Document]] = {"initContainerStatuses": [], "containerStatuses": []}
    code = 0
    for step in (*first, *last):
        if code:
            break
        code, notification = ending(step, request)
        part = "initContainerStatuses" if step in first else "containerStatuses"
        ended[part].append(container_status(step, request, code, notification))
    return {"phase": "Failed" if code else "Succeeded", "startTime": _now(), **ended}


def ready_status() -> Document:
    """Return the status of a serving pod that is ready."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": _now()}
    return {"phase": "Running", "conditions": [ready]}


def container_status(
    step: str, request: Document, code: int, notification: Document, started_at: str | None = None
) -> Document:
    """Return the status of a container that has ended with a notification; it started at once unless told when."""
    message = json.dumps({"requestDigest": digest_of(request), "step": step, **notification})
    terminated: Document = {"exitCode": code, "startedAt": started_at or _now(), "finishedAt": _now()}
    terminated |= {"message": message, "reason": "Completed" if code == 0 else "Error"}
    return _container(step, {"terminated": terminated}, ready=code == 0)


def _container(name: str, state: Document, *, ready: bool = False) -> Document:
    return {"name": name, "image": "x", "imageID": "", "ready": ready, "restartCount": 0, "state": state}


def request_of(pod: Document) -> Document:
    """Return the step request that a trainer pod carries."""
    request: Document = json.loads(pod["metadata"]["annotations"]["relora.dev/step-request"])
    return request


def digest_of(request: Document) -> str:
    """Return the digest of a step request."""
    digest: str = request["requestDigest"] if request["kind"] == "Delta" else request["items"][0]["requestDigest"]
    return digest


class FakeKubelet:
    """Works in a thread on the pods of every namespace, one step of a pod at a time.

    Args:
        kubeconfig: The administrator's.
        node: Name of a node to register, so that pods are scheduled and deleted as on a real one; by default there is
            none, and pods end without.

    Attributes:
        ending: How steps end.
        lasting: How long they run; by default they end at once.
        at_once: End all steps of a pod in one write of its status.
        paused: Touch no trainer pod while set.
        serving_ready: Whether serving pods get ready.
    """

    def __init__(self, kubeconfig: Path, node: str = "") -> None:
        self._api = Api(kubeconfig)
        self._node = node
        self._beats_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake kubelet")
        self._begun: dict[tuple[str, str], tuple[float, str]] = {}
        self.ending = passes_at("port")
        self.lasting: Lasting = lambda _step, _request: 0.0
        self.at_once = False
        self.paused = False
        self.serving_ready = True
        self.steps_run: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        if self._node:
            labels = {"kubernetes.io/hostname": self._node}
            self._api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node, "labels": labels}})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._api.close()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self._beat()
            for pod in self._api.everywhere("Pod"):
                try:
                    self._serve(pod)
                except ApiError as error:
                    if error.status not in {404, 409}:
                        raise

    def _beat(self) -> None:
        """Say that the node is ready: after 50 s of silence the controller manager takes its pods away."""
        if not self._node or time.monotonic() < self._beats_at:
            return
        self._beats_at = time.monotonic() + _BEAT_SECONDS
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": _now(), "reason": "KubeletReady"}
        room = {"cpu": "1000", "memory": "1Ti", "pods": "10000"}
        status = {"conditions": [ready], "allocatable": room, "capacity": room}
        self._api.merge("Node", self._node, {"status": status}, subresource="/status")

    def _serve(self, pod: Document) -> None:
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            if self._node:
                self._api.delete("Pod", f"{metadata['name']}?gracePeriodSeconds=0", metadata["namespace"])
            return
        if pod["status"]["phase"] in {"Succeeded", "Failed"} or (self._node and not pod["spec"].get("nodeName")):
            return
        if "relora.dev/job-kind" in pod["metadata"].get("labels", {}):
            if self.paused:
                return
            if self.at_once:
                self._write(pod, ended_status(pod, self.ending))
            else:
                self._step(pod)
        elif self.serving_ready and pod["status"]["phase"] == "Pending":
            self._write(pod, ready_status())

    def _step(self, pod: Document) -> None:
        request = request_of(pod)
        names = [container["name"] for container in pod["spec"].get("initContainers", [])]
        main = pod["spec"]["containers"][0]["name"]
        ended = [one for one in pod["status"].get("initContainerStatuses", []) if "terminated" in one["state"]]
        done = [status["name"] for status in ended]
        step = next((name for name in names if name not in done), main)
        part, before = ("containerStatuses", []) if step == main else ("initContainerStatuses", ended)
        seconds, key = self.lasting(step, request), (pod["metadata"]["uid"], step)
        if seconds and key not in self._begun:
            self._begun[key] = time.monotonic(), _now()
            running = _container(step, {"running": {"startedAt": self._begun[key][1]}})
            self._write(pod, {"phase": "Pending", part: [*before, running]})
        since, started_at = self._begun.get(key, (0.0, None))
        if time.monotonic() - since < seconds:
            return
        code, notification = self.ending(step, request)
        self.steps_run.append((digest_of(request), step))
        phase = "Failed" if code else "Succeeded" if step == main else "Pending"
        status = container_status(step, request, code, notification, started_at)
        self._write(pod, {"phase": phase, part: [*before, status]})

    def _write(self, pod: Document, status: Document) -> None:
        metadata = pod["metadata"]
        self._api.merge("Pod", metadata["name"], {"status": status}, metadata["namespace"], "/status")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

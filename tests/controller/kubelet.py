"""Ends trainer pods and readies serving pods by writing their status: there is no node in these tests."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from controller.api import Api, ApiError, Document
from relora_contract.digests import sha256_digest

Ending = Callable[[str, Document], tuple[int, Document]]
"""From step and request to exit code and notification (without the request's digest)."""


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


def digest_of(request: Document) -> str:
    """Return the digest of a step request."""
    digest: str = request["requestDigest"] if request["kind"] == "Delta" else request["items"][0]["requestDigest"]
    return digest


class FakeKubelet:
    """Works in a thread on the pods of every namespace, one step of a pod at a time.

    Attributes:
        ending: How steps end.
        paused: Touch no trainer pod while set.
        serving_ready: Whether serving pods get ready.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._api = Api(kubeconfig)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake kubelet")
        self.ending = passes_at("port")
        self.paused = False
        self.serving_ready = True
        self.steps_run: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._api.close()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for pod in self._api.everywhere("Pod"):
                try:
                    self._serve(pod)
                except ApiError as error:
                    if error.status not in {404, 409}:
                        raise

    def _serve(self, pod: Document) -> None:
        if pod["metadata"].get("deletionTimestamp") or pod["status"]["phase"] in {"Succeeded", "Failed"}:
            return
        if "relora.dev/job-kind" in pod["metadata"].get("labels", {}):
            if not self.paused:
                self._step(pod)
        elif self.serving_ready and pod["status"]["phase"] == "Pending":
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": _now()}
            self._write(pod, {"phase": "Running", "conditions": [ready]})

    def _step(self, pod: Document) -> None:
        request = json.loads(pod["metadata"]["annotations"]["relora.dev/step-request"])
        names = [container["name"] for container in pod["spec"].get("initContainers", [])]
        main = pod["spec"]["containers"][0]["name"]
        done = [status["name"] for status in pod["status"].get("initContainerStatuses", [])]
        step = next((name for name in names if name not in done), main)
        code, notification = self.ending(step, request)
        self.steps_run.append((digest_of(request), step))
        message = json.dumps({"requestDigest": digest_of(request), "step": step, **notification})
        terminated: Document = {"exitCode": code, "startedAt": _now(), "finishedAt": _now(), "message": message}
        terminated["reason"] = "Completed" if code == 0 else "Error"
        ended = {"name": step, "image": "x", "imageID": "", "ready": code == 0, "restartCount": 0}
        ended["state"] = {"terminated": terminated}
        status: dict[str, Any] = {"phase": "Pending"}
        if step == main:
            status["containerStatuses"] = [ended]
            status["phase"] = "Succeeded"
        else:
            status["initContainerStatuses"] = [*pod["status"].get("initContainerStatuses", []), ended]
        if code:
            status["phase"] = "Failed"
        self._write(pod, status)

    def _write(self, pod: Document, status: Document) -> None:
        metadata = pod["metadata"]
        self._api.merge("Pod", metadata["name"], {"status": status}, metadata["namespace"], "/status")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

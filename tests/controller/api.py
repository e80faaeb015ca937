"""A plain client of the API server, independent of the operator's own."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import config

Document = dict[str, Any]

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_MERGE = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}
_APPLY = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}

PLURALS = {
    "BaseModelRelease": "/apis/relora.dev/v1alpha1/basemodelreleases",
    "TrainerProfile": "/apis/relora.dev/v1alpha1/trainerprofiles",
    "AdapterBinding": "/apis/relora.dev/v1alpha1/namespaces/{}/adapterbindings",
    "AdapterServer": "/apis/relora.dev/v1alpha1/namespaces/{}/adapterservers",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Pod": "/api/v1/namespaces/{}/pods",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
}


class ApiError(Exception):
    """The API server refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Reads and writes objects as the administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client = config.new_client_from_config(str(kubeconfig))

    def close(self) -> None:
        self._client.close()

    def get(self, kind: str, name: str, namespace: str = "") -> Document:
        return self._send("GET", f"{PLURALS[kind].format(namespace)}/{name}", _JSON)

    def within(self, kind: str, namespace: str = "", query: str = "") -> list[Document]:
        items: list[Document] = self._send("GET", f"{PLURALS[kind].format(namespace)}{query}", _JSON)["items"]
        return items

    def everywhere(self, kind: str) -> list[Document]:
        items: list[Document] = self._send("GET", PLURALS[kind].replace("/namespaces/{}", ""), _JSON)["items"]
        return items

    def create(self, document: Document) -> Document:
        namespace = document["metadata"].get("namespace", "")
        return self._send("POST", PLURALS[document["kind"]].format(namespace), _JSON, document)

    def merge(self, kind: str, name: str, patch: Document, namespace: str = "", subresource: str = "") -> Document:
        return self._send("PATCH", f"{PLURALS[kind].format(namespace)}/{name}{subresource}", _MERGE, patch)

    def apply(self, document: Document, manager: str) -> Document:
        metadata = document["metadata"]
        path = f"{PLURALS[document['kind']].format(metadata.get('namespace', ''))}/{metadata['name']}"
        return self._send("PATCH", f"{path}?fieldManager={manager}", _APPLY, document)

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        self._send("DELETE", f"{PLURALS[kind].format(namespace)}/{name}", _JSON)

    def _send(self, method: str, path: str, headers: dict[str, str], body: Document | None = None) -> Document:
        answer = self._client.call_api(method, self._client.configuration.host + path, dict(headers), body)
        content: Document = json.loads(answer.read())
        if content.get("kind") == "Status" and content.get("status") == "Failure":
            raise ApiError(content["code"], content["message"])
        return content


def eventually(reached: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Wait until `reached` is true; fail with what it last raised. The time is for machines that are very busy."""
    deadline = time.monotonic() + seconds
    while True:
        problem: object = None
        try:
            if reached():
                return
        except (ApiError, KeyError, IndexError, StopIteration) as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} ({problem})")
        time.sleep(0.1)


def condition(document: Document, kind: str) -> Document:
    """Return a condition of an object, or an empty one."""
    found: list[Document] = document.get("status", {}).get("conditions", [])
    return next((entry for entry in found if entry["type"] == kind), {})

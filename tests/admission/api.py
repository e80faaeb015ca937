"""Asks a real API server whether it would take an object; nothing is stored unless a test says so."""

import json
from pathlib import Path
from typing import Any

from kubernetes import config

from relora_contract.crd.definition import KINDS
from relora_contract.crd.resource import Scope
from relora_contract.wellknown import API_VERSION

Causes = list[tuple[str, str]]
"""Field and message of each thing that the API server found wrong; empty when it accepted."""

_RESOURCES = {kind.resource.kind: kind.resource for kind in KINDS}
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class Admission:
    """A client for the objects of our kinds."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client = config.new_client_from_config(str(kubeconfig))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def create(self, document: dict[str, Any], *, store: bool = False) -> Causes:
        """Create the object, without storing it unless `store`."""
        return self._send("POST", _collection(document), document, store=store)

    def update(self, document: dict[str, Any], *, subresource: str = "", store: bool = False) -> Causes:
        """Replace the stored object of the same name."""
        path = f"{_collection(document)}/{document['metadata']['name']}{subresource}"
        present = json.loads(self._client.call_api("GET", self._url(path), _HEADERS).read())
        version = present["metadata"]["resourceVersion"]
        changed = {**document, "metadata": {**document["metadata"], "resourceVersion": version}}
        return self._send("PUT", path, changed, store=store)

    def _send(self, method: str, path: str, document: dict[str, Any], *, store: bool) -> Causes:
        query = "" if store else "&dryRun=All"
        answer = self._client.call_api(method, f"{self._url(path)}?fieldValidation=Strict{query}", _HEADERS, document)
        body = json.loads(answer.read())
        if body["kind"] != "Status":
            return []
        causes = body.get("details", {}).get("causes") or [{"field": "", "message": body["message"]}]
        return [(_dotted(cause.get("field", "")), cause["message"]) for cause in causes]

    def _url(self, path: str) -> str:
        host: str = self._client.configuration.host
        return host + path


def _collection(document: dict[str, Any]) -> str:
    resource = _RESOURCES[document["kind"]]
    namespace = document["metadata"].get("namespace", "")
    within = f"namespaces/{namespace}/" if resource.scope is Scope.NAMESPACED else ""
    return f"/apis/{API_VERSION}/{within}{resource.plural}"


def _dotted(field: str) -> str:
    """Write keys of maps with a dot: schema errors do, errors of CEL rules put them into brackets."""
    head, *keys = field.split("[")
    parts = [part.partition("]") for part in keys]
    return head + "".join(f"[{key}]{rest}" if key.isdigit() else f".{key}{rest}" for key, _, rest in parts)

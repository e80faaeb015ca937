"""An API server in memory: lists in pages, single objects, and merge patches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from typing_extensions import override

from controller.transport import FakeTransport, Sent
from fleet.world import World
from relora_contract.api.meta import ApiObject
from relora_operator.core.observed import NamespaceView
from relora_operator.kube.errors import ConflictError, JsonObject, KubeError, NotFoundError
from relora_operator.kube.resources import BINDINGS, NAMESPACES, PROFILES, RELEASES, SERVERS, ResourceType

RESOURCES = {resource.kind: resource for resource in (RELEASES, BINDINGS, SERVERS, PROFILES)}


@dataclass
class Shelf(FakeTransport):
    """Keeps objects as text, so that each answer costs what it costs to read one.

    Attributes:
        failures: Errors to raise, by verb and plural.
        patches: What was written: path, body and parameters.
        page_limit: Objects in one page, however many are asked for.
    """

    texts: dict[str, str] = field(default_factory=dict)
    failures: dict[tuple[str, str], KubeError] = field(default_factory=dict)
    patches: list[tuple[str, JsonObject, Mapping[str, str]]] = field(default_factory=list)
    page_limit: int = 500
    lists: int = 0

    @classmethod
    def of(cls, world: World) -> Shelf:
        """Return a server with everything of a world."""
        shelf = cls()
        shelf.put(*world.releases.values(), *world.bindings.values(), *world.servers.values())
        shelf.put(*world.profiles.values())
        shelf.put_namespaces(world.namespaces.values())
        return shelf

    def put(self, *objects: ApiObject) -> None:
        for one in objects:
            resource = RESOURCES[one.resource.kind]
            self.texts[resource.path(one.metadata.namespace, one.metadata.name)] = json.dumps(one.to_json())

    def put_namespaces(self, views: Iterable[NamespaceView]) -> None:
        for view in views:
            metadata = {"name": view.name, "labels": view.labels}
            self.texts[NAMESPACES.path("", view.name)] = json.dumps({"metadata": metadata})

    def managed(self, path: str, manager: str, fields: Mapping[str, object]) -> None:
        """Let a manager own fields of an object."""
        stored = self.read(path)
        stored["metadata"].setdefault("managedFields", []).append({"manager": manager, "fieldsV1": fields})
        self.texts[path] = json.dumps(stored)

    @override
    def answer(self, sent: Sent) -> JsonObject:
        verb, resource, path = sent.verb, sent.resource, sent.path
        if error := self.failures.get((verb, resource.plural)):
            raise error
        if sent.lists:
            return self._page(resource, path, sent.query)
        if path not in self.texts:
            named = f"{resource.plural}.{resource.group}"
            raise NotFoundError(f'{verb} {path}: {named} "{path.rpartition("/")[2]}" not found', status=404)
        if verb == "PATCH":
            assert sent.headers == {"Content-Type": "application/merge-patch+json"}
            return self._merge(path, sent.body or {}, sent.query)
        return cast("JsonObject", json.loads(self.texts[path]))

    def read(self, path: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.texts[path]))

    def _page(self, resource: ResourceType, path: str, query: Mapping[str, str]) -> JsonObject:
        self.lists += 1
        root, _, _ = path.rpartition(f"/{resource.plural}")
        found = [
            key
            for key in self.texts
            if key.startswith(f"{root}/") and key.rpartition("/")[0].endswith(f"/{resource.plural}")
        ]
        start = int(query.get("continue", "0"))
        end = start + min(int(query["limit"]), self.page_limit)
        metadata: JsonObject = {"resourceVersion": "7", **({"continue": str(end)} if end < len(found) else {})}
        items = f"[{','.join(self.texts[key] for key in found[start:end])}]"
        return {"metadata": metadata, "items": json.loads(items)}

    def _merge(self, path: str, body: JsonObject, query: Mapping[str, str]) -> JsonObject:
        stored, patch = self.read(path), cast("dict[str, Any]", body)
        for precondition in ("uid", "resourceVersion"):
            seen = patch["metadata"].get(precondition, stored["metadata"].get(precondition))
            if seen != stored["metadata"].get(precondition):
                raise ConflictError(f"PATCH {path}: the {precondition} in the precondition differs", status=409)
        _merged(stored, patch)
        self.texts[path] = json.dumps(stored)
        self.patches.append((path, body, query))
        return cast("JsonObject", stored)


def _merged(stored: dict[str, Any], patch: dict[str, Any]) -> None:
    """Merge a patch into an object, as RFC 7396 says; nothing here removes a field."""
    for name, value in patch.items():
        if isinstance(value, dict):
            _merged(stored.setdefault(name, {}), value)
        else:
            stored[name] = value

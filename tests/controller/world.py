"""The control loop around an API server in memory that does as it is told."""

import copy
from dataclasses import dataclass, field
from typing import Any, cast

from typing_extensions import override

from controller.transport import FakeTransport, Sent
from relora_operator.core.actions import Key
from relora_operator.kube.client import Client
from relora_operator.kube.errors import JsonObject, KubeError, NotFoundError
from relora_operator.kube.resources import BINDINGS, DEPLOYMENTS, NAMESPACES, PROFILES, RELEASES, SERVERS, ResourceType
from relora_operator.loop.intake import Intake
from relora_operator.loop.queue import WorkQueue
from relora_operator.loop.state import State
from samples import kinds


@dataclass
class ObedientTransport(FakeTransport):
    """Answers reads from `objects` by path, and writes with what was sent.

    Attributes:
        failures: Errors to raise, by verb and path.
    """

    objects: dict[str, JsonObject] = field(default_factory=dict)
    failures: dict[tuple[str, str], KubeError] = field(default_factory=dict)
    version: int = 100

    @override
    def answer(self, sent: Sent) -> JsonObject:
        path = sent.path
        assert not sent.headers or "Accept" in sent.headers or "Content-Type" in sent.headers
        if error := self.failures.get((sent.verb, path)):
            raise error
        if sent.lists:
            items = [found for key, found in self.objects.items() if key.startswith(f"{path}/")]
            return {"metadata": {"resourceVersion": str(self.version)}, "items": cast("Any", items)}
        if sent.verb == "GET":
            if path not in self.objects:
                raise NotFoundError(f"{path}: none", status=404)
            return copy.deepcopy(self.objects[path])
        self.version += 1
        stored: JsonObject = copy.deepcopy(self.objects.get(path.removesuffix("/status"), {})) | (sent.body or {})
        known = cast("JsonObject", self.objects.get(path.removesuffix("/status"), {}).get("metadata") or {})
        metadata = {"uid": "made", **known, **cast("JsonObject", stored.get("metadata") or {})}
        metadata |= {"resourceVersion": str(self.version), "creationTimestamp": "2026-11-01T10:00:00Z"}
        return stored | {"metadata": cast("Any", metadata)}

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(sent.verb, sent.path) for sent in self.sent if sent.verb != "GET"]


@dataclass
class World:
    """State, queue and client around a fake transport; time stands still."""

    transport: ObedientTransport
    state: State
    queue: WorkQueue
    intake: Intake
    client: Client
    seconds: list[float]

    def put(self, resource: ResourceType, document: dict[str, Any], *, uid: str = "", version: int = 1) -> None:
        """Let the operator see an object."""
        name = document["metadata"]["name"]
        before = self.transport.objects.get(resource.path(document["metadata"].get("namespace", ""), name), {})
        known: dict[str, Any] = cast("Any", before.get("metadata", {}))
        metadata = {
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "generation": known.get("generation", 0) + (before.get("spec") != document.get("spec")),
            "creationTimestamp": "2026-11-01T10:00:00Z",
            **document["metadata"],
        }
        raw = {**document, "metadata": metadata}
        self.transport.objects[resource.path(metadata.get("namespace", ""), name)] = raw
        self.intake.seen(resource, raw)

    async def queued(self) -> set[Key]:
        """Empty the queue, delayed keys included."""
        self.seconds[0] += 1000
        keys = set()
        self.queue._move_due()
        while len(self.queue):
            key, _ = await self.queue.take()
            self.queue.done(key)
            keys.add(key)
        return keys

    async def settle(self) -> None:
        """Forget what was queued so far."""
        await self.queued()

    def fill(self) -> None:
        """Two releases, a server in `serving`, two bindings in `team`, a profile."""
        for name in ("team", "serving"):
            self.put(NAMESPACES, {"metadata": {"name": name, "labels": {"relora.dev/admitted": "true"}}})
        self.put(PROFILES, kinds.profile())
        first = kinds.release("tiny-r1")
        del first["spec"]["supersedes"]
        self.put(RELEASES, first)
        self.put(RELEASES, kinds.release("tiny-r2"))
        self.put(SERVERS, kinds.server("vllm", "serving"))
        self.put(DEPLOYMENTS, deployment(available=2))
        for name in ("one", "two"):
            self.put(BINDINGS, binding(name))


def binding(name: str, **spec: object) -> dict[str, Any]:
    """Return a binding of `team` on the server of `serving`."""
    usual = {"serverRef": {"name": "vllm", "namespace": "serving"}, "servedName": name}
    return kinds.binding(name, "team", **(usual | spec))


def deployment(name: str = "vllm", *, available: int) -> dict[str, Any]:
    """Return the server's workload, or another one of it, with so many of two replicas available."""
    labels = {"relora.dev/adapter-server": "vllm"}
    return {
        "metadata": {"name": name, "namespace": "serving", "labels": labels},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {}}},
        "status": {
            "observedGeneration": 1,
            "replicas": 2,
            "updatedReplicas": 2,
            "availableReplicas": available,
        },
    }

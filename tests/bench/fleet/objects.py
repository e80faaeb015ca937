"""The fleet: bindings of many tenants on servers with 1, 10 and 50 members, and the releases that move them."""

from collections.abc import Iterator
from typing import Any

from controller.fleet import deployment
from samples.kinds import binding, digest, profile, release, server

Document = dict[str, Any]

MODEL = "fleet"
IDLE_MODEL = "idle"
PER_NAMESPACE = 50
STEP = 2 * PER_NAMESPACE
"""The layouts of two namespaces hold servers of every size, so a fleet is a multiple of this."""
_LAYOUTS = ((50,), (10,) * 4 + (1,) * 10)
MAX_RUNNING_JOBS = 1000
_BINDING_FIELDS = frozenset({"model", "source", "task", "quality", "readaptation", "serverRef", "servedName"})
"""What a tenant would write; every other field keeps its default."""


def namespaces(count: int, prefix: str = MODEL) -> list[Document]:
    """Return the namespaces of `count` bindings."""
    names = [f"{prefix}-{number:04d}" for number in range(count // PER_NAMESPACE)]
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]


def release_name(number: int, model: str = MODEL) -> str:
    """Return the name of the `number`-th release."""
    return f"{model}-r{number}"


def new_release(number: int, model: str = MODEL) -> Document:
    """Return the `number`-th release of the model, counted from 1."""
    name = release_name(number, model)
    document = release(
        name,
        model=model,
        version=str(number),
        weights={"uri": f"s3://models/{name}", "digest": digest(name)},
        supersedes=release_name(number - 1, model),
        profileRef={"name": MODEL},
        allowedNamespaces={"selector": {}},
        rollout={"maxRunningJobs": MAX_RUNNING_JOBS, "maxRunningJobsPerNamespace": PER_NAMESPACE},
    )
    if number == 1:
        del document["spec"]["supersedes"]
    return document


def trainer_profile() -> Document:
    """Return the profile of every release."""
    return profile(MODEL, scheduling={}, serviceAccountName="default", allowedNamespaces={"selector": {}}, resources={})


def servers(count: int) -> Iterator[tuple[Document, Document]]:
    """Yield each server with its workload, for `count` bindings."""
    for namespace, name, _ in _seats(count):
        yield (
            server(
                name,
                namespace,
                model=MODEL,
                initialReleaseName=release_name(1),
                targetRef={"kind": "Deployment", "name": name},
                allowedBindings={"from": "Same"},
                maxAdapters=64,
            ),
            _workload(name, namespace),
        )


def bindings(count: int) -> Iterator[Document]:
    """Yield `count` bindings, each on its server."""
    for namespace, server_name, members in _seats(count):
        for number in range(members):
            name = f"{server_name}-m{number}"
            yield _binding(name, namespace, MODEL, serverRef={"name": server_name}, servedName=f"{name}-served")


def idle_bindings(count: int) -> Iterator[Document]:
    """Yield bindings of a model with one release and no server: they only take up memory."""
    for found in namespaces(count, IDLE_MODEL):
        for number in range(PER_NAMESPACE):
            yield _binding(f"b{number}", found["metadata"]["name"], IDLE_MODEL)


def node() -> Document:
    """Return the node that KWOK plays."""
    labels = {"type": "kwok", "kubernetes.io/hostname": "kwok", "kubernetes.io/os": "linux"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kwok", "labels": labels}}


def _seats(count: int) -> Iterator[tuple[str, str, int]]:
    """Yield namespace, name and size of each server."""
    for number, found in enumerate(namespaces(count)):
        for position, members in enumerate(_LAYOUTS[number % len(_LAYOUTS)]):
            yield found["metadata"]["name"], f"s{members}-{position}", members


def _workload(name: str, namespace: str) -> Document:
    document = deployment(name, namespace)
    document["metadata"]["labels"] = {"relora.dev/adapter-server": name}
    return document


def _binding(name: str, namespace: str, model: str, **spec: object) -> Document:
    adapter = f"{namespace}/{name}"
    source = {"releaseName": release_name(1, model), "uri": f"s3://adapters/{adapter}/v1", "digest": digest(adapter)}
    document = binding(name, namespace, **({"serverRef": None, "servedName": None} | spec), model=model, source=source)
    kept = {key: value for key, value in document["spec"].items() if key in _BINDING_FIELDS and value is not None}
    return {**document, "spec": kept}

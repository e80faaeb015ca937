"""A fleet of any size on its first release, as text: what an API server would answer, without the cost of making it."""

import json
from typing import Any

from fleet.builders import make_binding, make_namespace, make_release, make_server
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import apply_r2, below
from relora_operator.kube.resources import BINDINGS, SERVERS

BINDINGS_PER_NAMESPACE = 50
MEMBERS_PER_SERVER = 10


def big_shelf(count: int) -> Shelf:
    """Return `count` bindings that were re-adapted to r2, in namespaces of 50 and on servers of 10 members.

    Each object is that of a small world that the operator's own decisions brought to r2, under another name.
    """
    world = World().add(make_release("r1"), make_server(namespace="n0000")).add_target(namespace="n0000")
    world.add(make_binding("b0000", "n0000").on_server(namespace="n0000").build()).live_on()
    apply_r2(world).live_on(below())
    shelf = Shelf.of(world)
    binding = shelf.texts.pop(BINDINGS.path("n0000", "b0000"))
    server = shelf.texts.pop(SERVERS.path("n0000", "vllm"))
    namespaces = []
    for index in range(count):
        namespace, name = f"n{index // BINDINGS_PER_NAMESPACE:04}", f"b{index:04}"
        named = _renamed(binding, namespace, name)
        named["metadata"]["creationTimestamp"] = f"2026-11-01T00:{index % 60:02}:00Z"
        named["spec"]["serverRef"]["name"] = f"vllm-{index // MEMBERS_PER_SERVER:04}"
        named["status"]["current"]["serverRef"]["name"] = named["spec"]["serverRef"]["name"]
        shelf.texts[BINDINGS.path(namespace, name)] = json.dumps(named)
        if index % MEMBERS_PER_SERVER == 0:
            held = _renamed(server, namespace, f"vllm-{index // MEMBERS_PER_SERVER:04}")
            shelf.texts[SERVERS.path(namespace, held["metadata"]["name"])] = json.dumps(held)
        if index % BINDINGS_PER_NAMESPACE == 0:
            namespaces.append(make_namespace(namespace))
    shelf.put_namespaces(namespaces)
    return shelf


def _renamed(text: str, namespace: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text.replace('"n0000"', f'"{namespace}"').replace("n0000-", f"{namespace}-"))
    document["metadata"] |= {"name": name, "uid": f"{namespace}-{name}"}
    return document

import asyncio
from typing import Any

import kopf
import pytest
from kopf._cogs.structs.ephemera import AnyMemo
from kopf._cogs.structs.references import Resource
from kopf._core.engines.indexing import OperatorIndexers
from kopf._core.reactor.inventory import ResourceMemories
from kopf._core.reactor.processing import process_resource_event
from kopf._core.reactor.queueing import ObjectUid, Stream, worker

from controller.world import World, binding
from relora_operator.handlers import build_registry, build_settings
from relora_operator.kube.connect import Login
from relora_operator.kube.resources import BINDINGS


class Uncopied(dict[str, Any]):
    """An object that must not be copied."""

    def __deepcopy__(self, _: object) -> "Uncopied":
        raise AssertionError("kopf copied an object")


async def no_login() -> kopf.ConnectionInfo:
    raise AssertionError("nothing is sent")


LOGIN: Login = no_login


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED", None])
async def test_an_event_reaches_the_state_without_a_copy_of_the_object(world: World, kind: str | None) -> None:
    document = binding("three")
    document["metadata"] |= {"uid": "three", "resourceVersion": "7", "creationTimestamp": "2026-11-01T10:00:00Z"}
    if kind == "DELETED":
        world.put(BINDINGS, document, uid="three")
    raw = {key: Uncopied(value) if isinstance(value, dict) else value for key, value in document.items()}

    await process_resource_event(
        lifecycle=kopf.lifecycles.all_at_once,
        indexers=OperatorIndexers(),
        registry=build_registry(world.intake, LOGIN),
        settings=build_settings(),
        memories=ResourceMemories(),
        memobase=AnyMemo(object()),
        resource=Resource(group=BINDINGS.group, version=BINDINGS.version, plural=BINDINGS.plural, namespaced=True),
        raw_event={"type": kind, "object": Uncopied(raw)},  # type: ignore[typeddict-item]
        event_queue=asyncio.Queue(),
    )

    found = world.state.bindings.get("team", "three")
    assert (found is None) == (kind == "DELETED")


async def test_kopf_lets_go_of_an_object_soon_after_its_event() -> None:
    key = (Resource(group=BINDINGS.group, version=BINDINGS.version, plural=BINDINGS.plural), ObjectUid("one"))
    stream = Stream(backlog=asyncio.Queue(), pressure=asyncio.Event())
    streams = {key: stream}
    stream.backlog.put_nowait({"type": "ADDED", "object": {"metadata": {"uid": "one"}}})
    processed = []

    async def process(**arguments: object) -> None:
        processed.append(arguments["raw_event"])

    working = worker(
        signaller=asyncio.Condition(), processor=process, settings=build_settings(), streams=streams, key=key
    )
    await asyncio.wait_for(working, timeout=3)

    assert len(processed) == 1
    assert streams == {}

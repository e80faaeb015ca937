"""What is read of a server's second workload, and when."""

from datetime import UTC, datetime

import pytest

from controller.world import World, deployment
from relora_operator.core.actions import Key
from relora_operator.core.snapshot import BindingSnapshot, ServerSnapshot
from relora_operator.kube.resources import DEPLOYMENTS, SERVERS
from relora_operator.loop.gather import Gatherer
from relora_operator.loop.grants import Grants
from relora_operator.loop.live import LiveReader
from relora_operator.loop.lostpods import LostPods
from relora_operator.loop.refusals import RefusalMemory
from relora_operator.loop.tallies import Tallies
from relora_operator.loop.unapplied import UnappliedSets
from samples import kinds

ONE = Key("AdapterBinding", "team", "one")
SERVER = Key("AdapterServer", "serving", "vllm")
STAYED = {"targetName": "old", "releaseName": "tiny-r1", "servedNames": ["one"]}


@pytest.fixture
def gatherer(world: World) -> Gatherer:
    """Of a server that moves without stragglers."""
    world.fill()
    put_server(world)
    return Gatherer(
        state=world.state,
        client=world.client,
        grants=Grants(),
        refusals=RefusalMemory(lambda: datetime(2026, 11, 1, tzinfo=UTC)),
        unapplied=UnappliedSets(),
        lost_pods=LostPods(world.state, lambda: datetime(2026, 11, 1, tzinfo=UTC)),
        tallies=Tallies(world.state),
        operator_namespace="relora-system",
    )


def put_server(world: World, **status: object) -> None:
    fallback = {"kind": "Deployment", "name": "old"}
    document = kinds.server("vllm", "serving", upgrade={"stragglers": "Split", "fallbackTargetRef": fallback})
    world.put(SERVERS, {**document, "status": status}, version=2 + len(status))


async def test_it_is_read_live_where_no_watch_has_it(world: World, gatherer: Gatherer) -> None:
    found = deployment("old", available=2)
    metadata = {**found["metadata"], "labels": {}, "uid": "old", "resourceVersion": "7"}
    world.transport.objects[DEPLOYMENTS.path("serving", "old")] = {**found, "metadata": metadata}

    snapshot = await gatherer.gather(SERVER)

    assert isinstance(snapshot, ServerSnapshot)
    assert snapshot.fallback is not None
    assert (snapshot.fallback.name, snapshot.fallback.consent) == ("old", None)


async def test_a_binding_sees_it_once_somebody_has_stayed_behind(world: World, gatherer: Gatherer) -> None:
    world.put(DEPLOYMENTS, deployment("old", available=2))
    snapshots = [await gatherer.gather(ONE)]
    put_server(world, fallback=STAYED)
    snapshots.append(await gatherer.gather(ONE))

    contexts = [snapshot.server for snapshot in snapshots if isinstance(snapshot, BindingSnapshot)]
    seen = [context.fallback for context in contexts if context is not None]
    assert [view.name if view is not None else None for view in seen] == [None, "old"]


async def test_it_is_looked_at_again_after_a_conflict(world: World, gatherer: Gatherer) -> None:
    reader = LiveReader(
        state=gatherer.state, client=world.client, intake=world.intake, operator_namespace="relora-system"
    )

    await reader.refresh_all(SERVER)

    read = [sent.path for sent in world.transport.sent]
    assert read[1:] == [DEPLOYMENTS.path("serving", name) for name in ("vllm", "old")]

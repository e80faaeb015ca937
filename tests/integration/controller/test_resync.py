from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.api import Api
from controller.fleet import Fleet
from relora_operator.clocks import elapsed
from relora_operator.core.actions import Key
from relora_operator.kube.client import Client
from relora_operator.kube.connect import connect
from relora_operator.kube.limiter import RateLimiter
from relora_operator.kube.resources import BINDINGS
from relora_operator.loop.intake import Intake
from relora_operator.loop.queue import WorkQueue
from relora_operator.loop.resync import Resync
from relora_operator.loop.state import State

pytestmark = pytest.mark.integration


def no_writes() -> None:
    raise AssertionError("a comparison writes nothing")


@pytest.fixture
async def resync(operator_kubeconfig: Path) -> AsyncIterator[Resync]:
    """A resync without watches: what it does not find is not found."""
    transport, _ = await connect(operator_kubeconfig)
    limiter = RateLimiter(rate=50, burst=100, clock=elapsed)
    client = Client(transport, limiter=limiter, fence=no_writes)
    state, queue = State(), WorkQueue(clock=elapsed)
    queue.open(())
    yield Resync(state=state, client=client, intake=Intake(state, queue), interval_seconds=1, clock=elapsed)
    await transport.close()


async def taken(resync: Resync) -> set[Key]:
    """Empty the queue, and name the keys that wait for more news."""
    queue = resync.intake._queue
    keys = set(queue._due)
    while len(queue):
        key, _ = await queue.take()
        queue.done(key)
        keys.add(key)
    return keys


async def test_a_deletion_that_no_watch_told_of_is_found(resync: Resync, fleet: Fleet, api: Api) -> None:
    await resync.fill()
    await taken(resync)
    api.delete("AdapterBinding", "two", fleet.namespace)
    assert resync.state.bindings.get(fleet.namespace, "two") is not None

    assert await resync.compare() >= 1

    assert resync.state.bindings.get(fleet.namespace, "two") is None
    assert Key("AdapterServer", fleet.namespace, "vllm") in await taken(resync)


async def test_a_change_and_a_new_object_that_no_watch_told_of_are_found(
    resync: Resync, fleet: Fleet, api: Api
) -> None:
    await resync.fill()
    await taken(resync)
    api.merge("AdapterBinding", "one", {"spec": {"servedName": "renamed"}}, fleet.namespace)
    fleet.release(fleet.r2, fleet.r1)

    await resync.compare()

    binding = resync.state.bindings.get(fleet.namespace, "one")
    assert binding is not None
    assert binding.spec.served_name == "renamed"
    keys = await taken(resync)
    assert {Key("AdapterBinding", fleet.namespace, "one"), Key("BaseModelRelease", "", fleet.r2)} <= keys


async def test_an_object_that_was_replaced_under_its_name_is_seen_as_another(
    resync: Resync, fleet: Fleet, api: Api
) -> None:
    await resync.fill()
    before = resync.state.bindings.uid(fleet.namespace, "one")
    document = api.get("AdapterBinding", "one", fleet.namespace)
    api.delete("AdapterBinding", "one", fleet.namespace)
    fresh = {"name": "one", "namespace": fleet.namespace}
    api.create({**document, "metadata": fresh, "status": {}})

    await resync.compare()

    after = resync.state.bindings.uid(fleet.namespace, "one")
    assert after not in {before, None}


async def test_many_changes_are_read_in_one_list(resync: Resync, fleet: Fleet, api: Api) -> None:
    await resync.fill()
    document = api.get("AdapterBinding", "one", fleet.namespace)
    for number in range(110):
        metadata = {"name": f"extra-{number}", "namespace": fleet.namespace}
        api.create({**document, "metadata": metadata, "status": {}})

    assert await resync.compare() >= 110

    assert len(resync.state.bindings.find("namespace", fleet.namespace)) == 112
    pages = [page async for page in resync.client.pages(BINDINGS, namespace=fleet.namespace, page_size=50)]
    assert [len(page.items) for page in pages] == [50, 50, 12]
    assert len({page.resource_version for page in pages}) == 1, "the pages show different moments"

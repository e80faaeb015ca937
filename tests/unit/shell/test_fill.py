"""What is read before anything is decided, and when it is compared with the API server again."""

import asyncio
from typing import Any

import pytest
from typing_extensions import override

from controller.world import ObedientTransport, World
from relora_operator.kube.client import Client
from relora_operator.kube.errors import JsonObject, NotFoundError, TemporaryError
from relora_operator.kube.limiter import RateLimiter
from relora_operator.kube.resources import BINDINGS, SERVERS
from relora_operator.loop.resync import MOST_PAUSE_SECONDS, NotInstalledError, Resync, RewoundError


class BusyTransport(ObedientTransport):
    """Takes a turn of the event loop for each request, and notes how many waited at once."""

    waiting = 0
    most = 0

    @override
    async def request(self, *request: Any, **named: Any) -> JsonObject:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        return await super().request(*request, **named)


@pytest.fixture
def transport(world: World) -> BusyTransport:
    world.fill()
    return BusyTransport(objects=world.transport.objects)


@pytest.fixture
def resync(world: World, transport: BusyTransport) -> Resync:
    limiter = RateLimiter(rate=50, burst=100, clock=lambda: 0.0)
    client = Client(transport, limiter=limiter, fence=lambda: None)
    return Resync(state=world.state, client=client, intake=world.intake, interval_seconds=60, clock=lambda: 7.0)


async def test_the_kinds_are_read_side_by_side(world: World, transport: BusyTransport, resync: Resync) -> None:
    await resync.fill()

    assert transport.most == len(world.state.caches)
    assert resync.whole_at == 7.0
    assert world.state.bindings.get("team", "one") is not None


async def test_a_kind_that_is_not_installed_is_named(transport: BusyTransport, resync: Resync) -> None:
    transport.failures["GET", SERVERS.path("")] = NotFoundError("404 page not found", status=404)

    with pytest.raises(NotInstalledError, match=r"AdapterServer \(adapterservers\.relora\.dev\) is not installed"):
        await resync.fill()


async def test_a_list_that_fails_is_told_as_what_it_is(transport: BusyTransport, resync: Resync) -> None:
    transport.failures["GET", BINDINGS.path("")] = TemporaryError("no answer in time")

    with pytest.raises(TemporaryError, match="no answer"):
        await resync.fill()


async def test_a_comparison_that_is_wanted_now_does_not_wait_for_its_time(
    transport: BusyTransport, resync: Resync
) -> None:
    resync.hurry()
    repeating = asyncio.create_task(resync.repeat())
    for _ in range(100):
        await asyncio.sleep(0)
    read = len(transport.sent)
    for _ in range(100):
        await asyncio.sleep(0)

    assert resync.whole_at == 7.0
    assert len(transport.sent) == read, "one comparison was wanted"
    repeating.cancel()


async def test_a_cluster_that_was_set_back_is_noticed_at_the_second_look(
    transport: BusyTransport, resync: Resync
) -> None:
    await resync.fill()
    await resync.compare()
    transport.version -= 50
    await resync.compare()
    transport.version += 50
    await resync.compare()
    transport.version -= 50
    await resync.compare()

    with pytest.raises(RewoundError, match="has version 50, and had 100 before"):
        await resync.compare()


@pytest.mark.parametrize(
    ("took_seconds", "pause_seconds"), [(0.1, 60), (4.0, 76), (MOST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)]
)
async def test_the_pause_grows_with_how_long_a_comparison_takes(
    world: World, resync: Resync, took_seconds: float, pause_seconds: float
) -> None:
    times = iter([100.0, 100.0 + took_seconds, 900.0])
    resync.clock = lambda: next(times)

    await resync.compare()

    assert resync.pause_seconds == pytest.approx(pause_seconds)

import asyncio

import pytest

from relora_operator.core.actions import Key
from relora_operator.loop.queue import (
    MOST_PAUSE_SECONDS,
    MOST_PROGRESS_PAUSE_SECONDS,
    PROGRESS_PAUSE_SECONDS,
    Backoff,
    WorkQueue,
)

BINDING = Key("AdapterBinding", "tenant", "a")
OTHER = Key("AdapterBinding", "tenant", "b")
SERVER = Key("AdapterServer", "tenant", "vllm")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    queue = WorkQueue(clock=clock, backoff=Backoff(first=1, most=60), jitter=lambda: 0.0)
    queue.open(())
    return queue


async def taken(queue: WorkQueue) -> Key | None:
    try:
        async with asyncio.timeout(0.01):
            key, _ = await queue.take()
            return key
    except TimeoutError:
        return None


async def test_a_key_that_was_added_twice_is_taken_once(queue: WorkQueue) -> None:
    queue.add(BINDING)
    queue.add(BINDING)

    assert await taken(queue) == BINDING
    queue.done(BINDING)
    assert await taken(queue) is None


async def test_a_key_that_is_added_while_it_is_processed_comes_again_after_done(queue: WorkQueue) -> None:
    queue.add(BINDING)
    assert await taken(queue) == BINDING

    queue.add(BINDING)

    assert await taken(queue) is None, "two workers would have the same key"
    queue.done(BINDING)
    assert await taken(queue) == BINDING


async def test_releases_and_servers_pass_bindings(queue: WorkQueue) -> None:
    for key in (BINDING, OTHER, SERVER):
        queue.add(key)

    assert [await taken(queue) for _ in range(3)] == [SERVER, BINDING, OTHER]


async def test_a_delayed_key_waits_for_its_time(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(BINDING, 10)

    assert await taken(queue) is None
    clock.seconds = 10
    assert await taken(queue) == BINDING
    assert queue.delayed == 0


async def test_the_earliest_time_wins_and_later_ones_are_forgotten(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(BINDING, 10)
    queue.add_after(BINDING, 5)
    queue.add_after(BINDING, 20)

    clock.seconds = 5
    assert await taken(queue) == BINDING
    queue.done(BINDING)
    clock.seconds = 100
    assert await taken(queue) is None


async def test_an_immediate_add_replaces_a_delay(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(BINDING, 10)
    queue.add(BINDING)

    assert await taken(queue) == BINDING
    queue.done(BINDING)
    clock.seconds = 11
    assert await taken(queue) is None


async def test_a_delay_that_is_asked_for_during_processing_is_kept(queue: WorkQueue, clock: Clock) -> None:
    queue.add(BINDING)
    assert await taken(queue) == BINDING
    queue.add_after(BINDING, 3)
    queue.done(BINDING)

    assert await taken(queue) is None
    clock.seconds = 3
    assert await taken(queue) == BINDING


async def test_failures_in_a_row_double_the_pause_until_a_success(queue: WorkQueue) -> None:
    pauses = [queue.retry(BINDING) for _ in range(8)]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert queue.retry(OTHER) == 1, "failures of one key slow down another"
    queue.succeeded(BINDING)
    assert queue.retry(BINDING) == 1


async def test_the_servers_wish_for_a_pause_is_respected(queue: WorkQueue) -> None:
    assert queue.retry(BINDING, at_least_seconds=30) == 30


async def test_a_sleeping_worker_wakes_up_for_a_new_key(queue: WorkQueue) -> None:
    worker = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(BINDING)

    key, _ = await asyncio.wait_for(worker, 1)
    assert key == BINDING


async def test_a_sleeping_worker_wakes_up_when_a_delay_ends() -> None:
    loop = asyncio.get_running_loop()
    queue = WorkQueue(clock=loop.time)
    queue.open(())
    worker = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add_after(BINDING, 0.02)

    key, _ = await asyncio.wait_for(worker, 1)
    assert key == BINDING


async def test_every_worker_gets_one_of_many_keys_at_once(queue: WorkQueue) -> None:
    workers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add(BINDING)
    queue.add(OTHER)

    results = await asyncio.wait_for(asyncio.gather(*workers), 1)
    assert {key for key, _ in results} == {BINDING, OTHER}


async def test_news_of_many_bindings_wait_in_proportion_to_what_their_server_costs(
    queue: WorkQueue, clock: Clock
) -> None:
    queue.add(SERVER)
    assert await taken(queue) == SERVER
    clock.seconds = 0.5
    queue.done(SERVER)

    queue.add_soon(SERVER)

    clock.seconds = 4.9
    assert await taken(queue) is None
    clock.seconds = 5
    assert await taken(queue) == SERVER


async def test_a_slow_api_server_delays_decisions_by_seconds_at_most(queue: WorkQueue, clock: Clock) -> None:
    queue.add(SERVER)
    assert await taken(queue) == SERVER
    clock.seconds = 70
    queue.done(SERVER)

    queue.add_soon(SERVER)

    clock.seconds += MOST_PAUSE_SECONDS - 0.1
    assert await taken(queue) is None
    clock.seconds += 0.1
    assert await taken(queue) == SERVER


@pytest.mark.parametrize(
    ("waited", "pause"),
    [(0.0, PROGRESS_PAUSE_SECONDS), (20.0, 20.0), (500.0, MOST_PROGRESS_PAUSE_SECONDS)],
)
async def test_an_account_is_as_far_behind_as_the_bindings_it_tells_of(
    queue: WorkQueue, clock: Clock, *, waited: float, pause: float
) -> None:
    queue.add(BINDING)
    clock.seconds = waited
    queue.add(OTHER)

    queue.add_for_progress(SERVER)
    assert [await taken(queue), await taken(queue)] == [BINDING, OTHER]

    clock.seconds += pause - 0.1
    assert await taken(queue) is None
    clock.seconds += 0.1
    assert await taken(queue) == SERVER


async def test_the_first_news_of_a_server_wait_for_a_moment_only(queue: WorkQueue, clock: Clock) -> None:
    queue.add_soon(SERVER)

    clock.seconds = 1
    assert await taken(queue) == SERVER


async def test_a_binding_waits_for_the_other_events_of_the_same_step(queue: WorkQueue, clock: Clock) -> None:
    queue.add_soon(BINDING)
    assert await taken(queue) is None
    clock.seconds = 0.4
    queue.add_soon(BINDING)

    clock.seconds = 0.5
    assert await taken(queue) == BINDING
    queue.done(BINDING)
    clock.seconds = 1
    assert await taken(queue) is None


async def test_what_a_standby_is_told_is_not_kept(clock: Clock) -> None:
    queue = WorkQueue(clock=clock)
    queue.add(BINDING)
    queue.add_soon(OTHER)
    assert (len(queue), queue.delayed) == (0, 0)

    queue.open([SERVER])
    queue.add(BINDING)
    clock.seconds += MOST_PROGRESS_PAUSE_SECONDS

    assert [await taken(queue) for _ in range(3)] == [SERVER, BINDING, None]

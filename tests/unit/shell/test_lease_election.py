import asyncio
import copy
from datetime import UTC, datetime
from typing import cast

import pytest
from typing_extensions import override

from controller.transport import FakeTransport, Sent
from relora_operator.kube.errors import (
    AlreadyExistsError,
    ConflictError,
    JsonObject,
    NotFoundError,
    TemporaryError,
)
from relora_operator.kube.lease import LeaseElection, LeaseLostError, LeaseTimes


class World(FakeTransport):
    """An API server with one Lease, and a clock that only sleeping moves."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.lease: JsonObject | None = None
        self.version = 0
        self.down = False
        self.lose_answers = False

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)

    @override
    def answer(self, sent: Sent) -> JsonObject:
        verb, body = sent.verb, sent.body
        assert sent.path.startswith("/apis/coordination.k8s.io/v1/namespaces/relora-system/leases")
        assert sent.resource.plural == "leases"
        assert (sent.query, sent.headers) == ({}, {})
        assert sent.timeout_seconds == 5
        if self.down:
            self.seconds += sent.timeout_seconds
            raise TemporaryError("no answer")
        if verb == "GET":
            if self.lease is None:
                raise NotFoundError("no lease")
            return copy.deepcopy(self.lease)
        assert body is not None
        if verb == "POST" and self.lease is not None:
            raise AlreadyExistsError("there is one")
        metadata = cast("JsonObject", body["metadata"])
        if verb == "PUT" and (self.lease is None or metadata["resourceVersion"] != str(self.version)):
            raise ConflictError("changed")
        self.version += 1
        self.lease = copy.deepcopy(body)
        cast("JsonObject", self.lease["metadata"])["resourceVersion"] = str(self.version)
        if self.lose_answers:
            raise TemporaryError("the answer was lost")
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> object:
        assert self.lease is not None
        return cast("JsonObject", self.lease["spec"])["holderIdentity"]

    def election(self, identity: str) -> LeaseElection:
        return LeaseElection(
            self,
            namespace="relora-system",
            name="relora-operator",
            identity=identity,
            clock=lambda: self.seconds,
            now=lambda: datetime(2026, 11, 1, tzinfo=UTC),
            sleep=self.sleep,
        )


@pytest.fixture
def world() -> World:
    return World()


async def test_the_first_process_creates_the_lease_and_may_write(world: World) -> None:
    election = world.election("one")
    with pytest.raises(LeaseLostError):
        election.fence()

    await election.acquire()

    assert world.holder == "one"
    election.fence()


async def test_a_process_that_could_not_work_yet_leaves_the_lease_and_knows_how_long_it_was_silent(
    world: World,
) -> None:
    unprepared = asyncio.create_task(world.election("first").acquire(lambda: world.seconds >= 5))
    await asyncio.sleep(0)
    await world.election("one").acquire()
    await asyncio.wait_for(unprepared, 60)

    assert world.holder == "first"
    assert 15 <= world.seconds <= 19


async def test_a_second_process_waits_for_the_whole_duration_by_its_own_clock(world: World) -> None:
    await world.election("one").acquire()
    second = world.election("two")

    await second.acquire()

    assert world.holder == "two"
    assert 15 <= world.seconds <= 17


async def test_a_leader_that_renews_is_left_alone(world: World) -> None:
    first = world.election("one")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    second = world.election("two")

    waiting = asyncio.create_task(second.acquire())
    for _ in range(200):
        await asyncio.sleep(0)

    assert world.seconds > 60
    assert world.holder == "one"
    assert not waiting.done()
    for task in (keeping, waiting):
        task.cancel()
    await asyncio.gather(keeping, waiting, return_exceptions=True)


async def test_a_released_lease_is_taken_at_once(world: World) -> None:
    first = world.election("one")
    await first.acquire()
    await first.release()

    await world.election("two").acquire()

    assert world.holder == "two"
    assert world.seconds == 0
    with pytest.raises(LeaseLostError):
        first.fence()


async def test_the_fence_closes_before_another_process_can_lead(world: World) -> None:
    election = world.election("one")
    await election.acquire()

    world.seconds = 9.9
    election.fence()
    world.seconds = 10.0
    with pytest.raises(LeaseLostError, match=r"10\.0 s ago"):
        election.fence()


async def test_a_leader_without_an_api_server_gives_up_before_the_lease_ends(world: World) -> None:
    election = world.election("one")
    await election.acquire()
    world.down = True

    with pytest.raises(LeaseLostError, match="could not be renewed"):
        await election.keep()

    assert 10 < world.seconds < 15


async def test_a_leader_that_was_replaced_sees_it_on_the_next_renewal(world: World) -> None:
    election = world.election("one")
    await election.acquire()
    world.seconds = 60
    await world.election("two").acquire()

    with pytest.raises(LeaseLostError, match="held by two"):
        await election.keep()


async def test_a_renewal_whose_answer_was_lost_does_not_depose_the_leader(world: World) -> None:
    election = world.election("one")
    await election.acquire()
    world.lose_answers = True
    keeping = asyncio.create_task(election.keep())
    for _ in range(4):
        await asyncio.sleep(0)
    world.lose_answers = False
    for _ in range(20):
        await asyncio.sleep(0)

    assert not keeping.done()
    election.fence()
    keeping.cancel()


async def test_a_deleted_lease_ends_the_leader(world: World) -> None:
    election = world.election("one")
    await election.acquire()
    world.lease = None

    with pytest.raises(LeaseLostError):
        await election.keep()


async def test_two_processes_that_race_for_a_new_lease_do_not_both_win(world: World) -> None:
    one, two = world.election("one"), world.election("two")
    race = [asyncio.create_task(election.acquire()) for election in (one, two)]
    for _ in range(4):
        await asyncio.sleep(0)

    assert sum(task.done() for task in race) == 1
    for task in race:
        task.cancel()


@pytest.mark.parametrize("times", [{"renew_deadline": 15.0}, {"retry": 10.0}, {"timeout": 15.0}])
def test_times_that_allow_two_leaders_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lease times"):
        LeaseTimes(**times)

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from controller.world import World, binding
from relora_contract.api.binding import AdapterBindingStatus
from relora_operator.core.actions import Action, CreateJob, Key, Plan, SetJobTtl, WriteStatus
from relora_operator.core.decide import Decisions
from relora_operator.core.reasons import Reason
from relora_operator.core.snapshot import BindingSnapshot, ReleaseSnapshot, ServerSnapshot
from relora_operator.kube.client import Client
from relora_operator.kube.errors import ConflictError, ForbiddenError, JsonObject, KubeError, TemporaryError
from relora_operator.kube.events import EventRecorder
from relora_operator.kube.lease import LeaseLostError
from relora_operator.kube.limiter import RateLimiter
from relora_operator.kube.resources import BINDINGS, JOBS
from relora_operator.loop.execute import Executor
from relora_operator.loop.gather import Gatherer
from relora_operator.loop.grants import Grants
from relora_operator.loop.live import LiveReader
from relora_operator.loop.lostpods import LostPods
from relora_operator.loop.reconcile import Reconciler
from relora_operator.loop.refusals import RefusalMemory
from relora_operator.loop.tallies import Tallies
from relora_operator.loop.unapplied import UnappliedSets

NOW = datetime(2026, 11, 1, 10, tzinfo=UTC)
ONE = Key("AdapterBinding", "team", "one")
SERVER = Key("AdapterServer", "serving", "vllm")
STATUS_PATH = "/apis/relora.dev/v1alpha1/namespaces/team/adapterbindings/one/status"
EVENTS_PATH = "/apis/events.k8s.io/v1/namespaces/team/events"

BindingDecision = Callable[[BindingSnapshot], Plan]


def nothing(_: ReleaseSnapshot | ServerSnapshot, __: datetime) -> Plan:
    return Plan()


class Loop:
    """A reconciler whose decision for bindings a test sets."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.decide: BindingDecision = lambda _: Plan()
        self.snapshots: list[BindingSnapshot] = []
        self.grants = Grants()
        self.refusals = RefusalMemory(lambda: NOW)
        self.reconciler = self._around(world.client)

    def _around(self, client: Client) -> Reconciler:
        world = self.world
        events = EventRecorder(client, instance="one", now=lambda: NOW)
        return Reconciler(
            queue=world.queue,
            gatherer=Gatherer(
                state=world.state,
                client=client,
                grants=self.grants,
                refusals=self.refusals,
                unapplied=UnappliedSets(),
                lost_pods=LostPods(world.state, lambda: NOW),
                tallies=Tallies(world.state),
                operator_namespace="relora-system",
            ),
            executor=Executor(
                state=world.state,
                client=client,
                intake=world.intake,
                queue=world.queue,
                grants=self.grants,
                refusals=self.refusals,
                unapplied=UnappliedSets(),
                events=events,
            ),
            live=LiveReader(state=world.state, client=client, intake=world.intake, operator_namespace="relora-system"),
            decisions=Decisions(release=nothing, binding=self._decide, server=nothing),
            now=lambda: NOW,
        )

    def fence_off(self) -> None:
        """Let every write fail as after the loss of the Lease."""

        def lost() -> None:
            raise LeaseLostError("another leads")

        limiter = RateLimiter(rate=50, burst=100, clock=lambda: 0.0)
        self.reconciler = self._around(Client(self.world.transport, limiter=limiter, fence=lost))

    def _decide(self, snapshot: BindingSnapshot, _: datetime) -> Plan:
        if snapshot.binding.metadata.name != ONE.name:
            return Plan()
        self.snapshots.append(snapshot)
        return self.decide(snapshot)

    async def work(self, key: Key) -> None:
        """Let a worker take `key` once."""
        await self.world.settle()
        self.world.queue.add(key)
        worker = asyncio.create_task(self.reconciler.work())
        for _ in range(20):
            await asyncio.sleep(0)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


@pytest.fixture
def loop(world: World) -> Loop:
    world.fill()
    return Loop(world)


def status(snapshot: BindingSnapshot) -> WriteStatus:
    version = snapshot.binding.metadata.resource_version
    return WriteStatus(key=ONE, resource_version=version, status=AdapterBindingStatus(observed_generation=1))


def plan(*actions: Action) -> BindingDecision:
    return lambda _: Plan(actions=actions)


CREATE = CreateJob(
    owner=ONE, namespace="team", name="one-1", manifest={"metadata": {"name": "one-1", "namespace": "team"}}
)


async def test_nothing_to_do_needs_no_request(loop: Loop) -> None:
    await loop.work(ONE)

    assert len(loop.snapshots) == 1
    assert loop.world.transport.sent == []


async def test_a_job_is_decided_on_again_after_a_live_look(loop: Loop) -> None:
    world = loop.world
    loop.decide = lambda snapshot: Plan(actions=(CREATE,) if not snapshot.jobs else ())
    owner: JsonObject = {"apiVersion": "relora.dev/v1alpha1", "kind": "AdapterBinding", "name": "one", "uid": "uid-one"}
    world.transport.objects[JOBS.path("team", "one-1")] = {
        "metadata": {
            "name": "one-1",
            "namespace": "team",
            "uid": "j",
            "resourceVersion": "5",
            "creationTimestamp": "2026-11-01T10:00:00Z",
            "ownerReferences": [owner],
        },
        "spec": {},
    }

    await loop.work(ONE)

    assert world.transport.writes == [], "a Job that the watch had not told of was made again"
    assert [job.name for job in loop.snapshots[-1].jobs] == ["one-1"]


async def test_a_plan_that_begins_with_the_status_reads_the_jobs_alone_and_starts_none_when_that_is_refused(
    loop: Loop,
) -> None:
    world = loop.world
    loop.decide = lambda snapshot: Plan(actions=(status(snapshot), CREATE))
    world.transport.failures["PATCH", STATUS_PATH] = ConflictError("changed", status=409)

    await loop.work(ONE)

    before = [sent for sent in world.transport.sent if sent.verb == "GET"][:1]
    assert [sent.path for sent in before] == [JOBS.path("team")]
    assert world.transport.writes == [("PATCH", STATUS_PATH)]


def news_of_itself(world: World) -> None:
    document = binding("one", priority=3)
    world.transport.objects[BINDINGS.path("team", "one")] |= {**document, "metadata": metadata_of_one(world, "2")}


def news_of_a_neighbour(world: World) -> None:
    world.put(BINDINGS, {**binding("two"), "status": {"observedGeneration": 1}}, version=2)


def metadata_of_one(world: World, version: str) -> JsonObject:
    known = world.transport.objects[BINDINGS.path("team", "one")]["metadata"]
    return {**cast("JsonObject", known), "resourceVersion": version}


@pytest.mark.parametrize(("meanwhile", "decisions"), [(None, 1), (news_of_itself, 2), (news_of_a_neighbour, 2)])
async def test_the_same_is_not_decided_on_twice(
    loop: Loop, *, meanwhile: Callable[[World], None] | None, decisions: int
) -> None:
    world = loop.world

    def decide(_: BindingSnapshot) -> Plan:
        if meanwhile is not None and len(loop.snapshots) == 1:
            meanwhile(world)
        return Plan(actions=(CREATE,))

    loop.decide = decide
    await loop.reconciler.reconcile(ONE)

    assert len(loop.snapshots) == decisions
    assert [verb for verb, _ in world.transport.writes] == ["POST"]


async def test_a_release_is_always_decided_on_twice_as_its_tally_changes_under_it(loop: Loop) -> None:
    gatherer, release = loop.reconciler.gatherer, Key("BaseModelRelease", "", "tiny-r2")

    assert await gatherer.gather(release) != await gatherer.gather(release)


async def test_a_time_to_live_needs_no_live_look(loop: Loop) -> None:
    loop.decide = plan(SetJobTtl(namespace="team", name="one-1", uid="j", seconds=3600))

    await loop.work(ONE)

    assert [sent.verb for sent in loop.world.transport.sent] == ["PATCH"]


async def test_an_object_that_is_gone_by_the_live_look_is_left_alone(loop: Loop) -> None:
    loop.decide = plan(CREATE)
    del loop.world.transport.objects[BINDINGS.path("team", "one")]

    await loop.work(ONE)

    assert loop.world.transport.writes == []
    assert loop.world.state.bindings.get("team", "one") is None


async def test_a_status_needs_no_live_look(loop: Loop) -> None:
    loop.decide = lambda snapshot: Plan(actions=(status(snapshot),))

    await loop.work(ONE)

    assert [(sent.verb, sent.path) for sent in loop.world.transport.sent] == [("PATCH", STATUS_PATH)]


async def test_a_conflict_is_followed_by_a_look_at_what_changed(loop: Loop) -> None:
    world = loop.world
    loop.decide = lambda snapshot: Plan(actions=(status(snapshot),))
    world.transport.failures["PATCH", STATUS_PATH] = ConflictError("changed", status=409)
    newer = binding("one", servedName="renamed")
    metadata = {"uid": "uid-one", "resourceVersion": "50", "creationTimestamp": "2026-11-01T10:00:00Z"}
    world.transport.objects[BINDINGS.path("team", "one")] = {**newer, "metadata": {**newer["metadata"], **metadata}}

    await loop.work(ONE)

    seen = world.state.bindings.get("team", "one")
    assert seen is not None
    assert seen.spec.served_name == "renamed"
    assert ONE in await world.queued()


async def test_a_refused_write_is_told_and_tried_again_after_a_long_pause(loop: Loop) -> None:
    world = loop.world
    loop.decide = lambda snapshot: Plan(actions=(status(snapshot),))
    world.transport.failures["PATCH", STATUS_PATH] = ForbiddenError("may not write", status=403)

    await loop.work(ONE)

    event = next(sent for sent in world.transport.sent if sent.path == EVENTS_PATH)
    assert event.body is not None
    assert (event.body["reason"], event.body["type"]) == ("WriteRefused", "Warning")
    assert "may not write" in str(event.body["note"])
    world.seconds[0] += 29
    world.queue._move_due()
    assert ONE not in set(world.queue._lanes[1])
    assert ONE in await world.queued()


async def test_a_refused_job_is_known_to_the_next_decision_until_it_exists(loop: Loop) -> None:
    world = loop.world
    loop.decide = lambda snapshot: Plan(actions=() if snapshot.refusals else (CREATE,))
    refused = ForbiddenError("POST: exceeded quota", status=403, answer="exceeded quota")
    world.transport.failures["POST", JOBS.path("team")] = refused

    await loop.work(ONE)

    known = loop.snapshots[-1].refusals["one-1"]
    assert (known.reason, known.message) == (Reason.JOB_REFUSED, "the API server refused the Job: exceeded quota")
    assert known.again_at == NOW + timedelta(seconds=60)
    assert len(world.transport.writes) == 1

    del world.transport.failures["POST", JOBS.path("team")]
    await loop.reconciler.executor.execute(Plan(actions=(CREATE,)))
    assert loop.refusals.of(ONE) == {}


async def test_the_refusals_of_an_object_that_is_gone_are_forgotten(loop: Loop) -> None:
    gone = Key("AdapterBinding", "team", "gone")
    loop.refusals.record(gone, "gone-1", ForbiddenError("exceeded quota", status=403))

    await loop.work(gone)

    assert loop.refusals.of(gone) == {}


@pytest.mark.parametrize("error", [TemporaryError("no answer", retry_after_seconds=20), KubeError("odd")])
async def test_a_temporary_fault_is_tried_again(loop: Loop, error: KubeError) -> None:
    loop.decide = lambda snapshot: Plan(actions=(status(snapshot),))
    loop.world.transport.failures["PATCH", STATUS_PATH] = error

    await loop.work(ONE)

    assert loop.world.queue._due[ONE] - loop.world.seconds[0] == (error.retry_after_seconds or 1)


async def test_a_fault_of_a_decision_stops_neither_the_worker_nor_other_keys(loop: Loop) -> None:
    def broken(_: BindingSnapshot) -> Plan:
        raise ZeroDivisionError

    loop.decide = broken
    await loop.work(ONE)
    assert loop.world.queue._due[ONE] > loop.world.seconds[0]

    loop.decide = lambda snapshot: Plan(actions=(replace(status(snapshot), key=ONE),))
    await loop.work(ONE)
    assert loop.world.transport.writes == [("PATCH", STATUS_PATH)]


async def test_the_loss_of_the_lease_ends_the_worker_before_anything_is_sent(loop: Loop) -> None:
    loop.decide = lambda snapshot: Plan(actions=(status(snapshot),))
    loop.fence_off()

    with pytest.raises(LeaseLostError):
        await loop.work(ONE)

    assert loop.world.transport.writes == []


async def test_a_long_queue_leaves_the_lease_its_turns(loop: Loop) -> None:
    for number in range(50):
        loop.world.queue.add(Key("AdapterBinding", "team", f"absent-{number}"))
    worker = asyncio.create_task(loop.reconciler.work())
    turns = 0
    while len(loop.world.queue) and turns < 1000:
        await asyncio.sleep(0)
        turns += 1

    worker.cancel()
    assert turns >= 50, "a worker kept the event loop for itself"


async def test_a_wish_to_look_again_is_granted(loop: Loop) -> None:
    loop.decide = lambda _: Plan(requeue_after_seconds=7)

    await loop.work(ONE)

    assert loop.world.queue._due[ONE] - loop.world.seconds[0] == 7


async def test_a_server_with_an_unreadable_member_is_not_decided_on(loop: Loop) -> None:
    world = loop.world
    broken = binding("one")
    broken["spec"]["task"] = {"kind": "FromTheFuture"}
    world.put(BINDINGS, broken, version=9)
    calls: list[ServerSnapshot] = []

    def note(snapshot: ServerSnapshot, _: datetime) -> Plan:
        calls.append(snapshot)
        return Plan()

    decisions = Decisions(release=nothing, binding=loop.reconciler.decisions.binding, server=note)
    loop.reconciler = replace(loop.reconciler, decisions=decisions)
    await loop.work(SERVER)

    assert calls == [], "a tenant's adapter would have been dropped from the set"
    assert SERVER in await world.queued()


async def test_a_slot_of_a_deleted_release_is_taken_back(loop: Loop) -> None:
    loop.grants.replace("gone", {ONE})

    await loop.work(Key("BaseModelRelease", "", "gone"))

    assert not loop.grants.holds(ONE)


async def test_a_release_sees_the_servers_of_its_model_among_which_canaries_are_chosen(world: World) -> None:
    world.fill()
    gatherer = Loop(world).reconciler.gatherer

    snapshot = await gatherer.gather(Key("BaseModelRelease", "", "tiny-r2"))

    assert isinstance(snapshot, ReleaseSnapshot)
    assert [server.metadata.name for server in snapshot.servers] == ["vllm"]

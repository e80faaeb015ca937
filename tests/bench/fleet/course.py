"""All that is done with a fleet of one size, phase by phase."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import objects
from bench.fleet.census import JobCensus, on_release
from bench.fleet.cluster import Cluster
from bench.fleet.finisher import finishing
from bench.fleet.operators import Operators, operators, reconciles, usage
from bench.fleet.passage import Fleet, Passage, Say
from bench.fleet.replay import play, score
from bench.fleet.waiting import until
from bench.fleet.wire import Wire, at_once
from controller.replica import Replica
from devcluster.progress import Report, Ticker

_BASE_SECONDS = 120.0
_SECONDS_PER_BINDING = 0.5
_REST_SECONDS = 30.0
_TAKEOVER_SECONDS = 120.0
_DELETIONS_AT_ONCE = 2
"""With 16, an API server on two cores did not answer the operator for 13 s, and its Lease ran out."""
IDLE_RATIO = 3
"""How many idle bindings are added per binding of the fleet, for the slope of the memory."""


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What the operator wrote while nothing happened."""

    seconds: float
    writes: int


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """A passage during which the leader was killed."""

    passage: Passage
    seconds: float
    """From the kill to the first reconcile of the standby."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a leader at rest, in MiB, by the number of bindings."""

    mebibytes: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What was measured with one size; None what was not asked for."""

    bindings: int
    real: Passage
    rest: Rest | None = None
    takeover: Takeover | None = None
    plan_seconds: float | None = None
    """How long `kubectl relora plan` took for the next release."""
    alone_seconds: float | None = None
    bypassed: Passage | None = None
    samples: dict[str, int] | None = None
    """What the operator's processor time went to while the controllers were bypassed, in samples by part."""
    memory: Memory | None = None


class Stage:
    """Says which phase goes on, every ten seconds."""

    def __init__(self, report: Report, bindings: int) -> None:
        self._report = report
        self._bindings = bindings
        self._now = "starting the control plane"
        self._ticker = Ticker(lambda line: report(f"[{bindings}] {line}"), lambda: self._now)

    def say(self, what: str) -> None:
        """Note what goes on now."""
        self._now = what

    def mark(self, what: str) -> None:
        """Report that something was reached."""
        self._report(f"[{self._bindings}] {what}, {self._ticker.elapsed()}")

    def __enter__(self) -> Say:
        self._ticker.__enter__()
        return self.say

    def __exit__(self, *_: object) -> None:
        self._ticker.__exit__()


async def run(bindings: int, report: Report, *, whole: bool) -> Course:
    """Measure a fleet of one size.

    Args:
        bindings: Size of the fleet, a multiple of `objects.STEP`.
        report: Takes lines of progress.
        whole: Every phase; else only the passage of one release with everything real.

    Raises:
        TimeoutError: A phase took longer than its limit.
    """
    stage = Stage(report, bindings)
    with stage as say, Cluster(report) as cluster, operators(cluster) as started:
        async with followed(cluster, bindings, say) as fleet:
            return await _phases(fleet, cluster, started, stage, whole=whole)


@asynccontextmanager
async def followed(cluster: Cluster, bindings: int, say: Say) -> AsyncIterator[Fleet]:
    """Yield a fleet that is yet to be created, with a census of its Jobs."""
    async with Wire(cluster.kubeconfig) as wire:
        census = JobCensus()
        limit = _BASE_SECONDS + _SECONDS_PER_BINDING * bindings
        async with asyncio.TaskGroup() as group:  # a census that ends takes the bench with it
            following = group.create_task(census.follow(wire))
            yield Fleet(wire=wire, census=census, bindings=bindings, limit_seconds=limit, say=say)
            following.cancel()


async def _phases(fleet: Fleet, cluster: Cluster, started: Operators, stage: Stage, *, whole: bool) -> Course:
    await populate(fleet)
    stage.mark("the fleet is created")
    leader = await started.start_leader()
    await adopt(fleet)
    stage.mark("the first release is served")
    real = await fleet.pass_over(2, leader)
    stage.mark(f"a release passed in {real.seconds:.0f} s with everything real")
    stage.mark(f"it took {real.writes_per_binding:.1f} writes for each binding")
    found: dict[str, Any] = {"bindings": fleet.bindings, "real": real}
    if whole:
        found["rest"] = await rest(fleet, leader)
        stage.mark("nothing happened for a while")
        found["plan_seconds"] = await plan(cluster, fleet)
        stage.mark(f"the next release was planned in {found['plan_seconds']:.1f} s")
        played = await score(fleet.wire, objects.release_name(2), real.usage.requests)
        await clear_jobs(fleet)
        found["takeover"] = await take_over(fleet, started, leader)
        stage.mark(f"a release passed although its leader was killed; {found['takeover'].seconds:.1f} s without one")
        started.stop_all()
        await clear_jobs(fleet)
        found["alone_seconds"] = await play(fleet.wire, played, limit_seconds=fleet.limit_seconds, say=fleet.say)
        stage.mark(f"the control plane alone took {found['alone_seconds']:.0f} s for the same writes")
        await clear_jobs(fleet)
        samples = cluster.folder / "samples.json"
        found["bypassed"] = await bypass(fleet, cluster, started, samples)
        stage.mark(f"a release passed in {found['bypassed'].seconds:.0f} s without controllers")
        started.stop_all()
        found["samples"] = json.loads(samples.read_text())
        await clear_jobs(fleet)
        found["memory"] = await grow(fleet, started)
        stage.mark("memory is measured")
    return Course(**found)


async def populate(fleet: Fleet) -> None:
    """Create the fleet on its first release."""
    wire, count = fleet.wire, fleet.bindings
    fleet.say(f"creating {count} bindings")
    await wire.create(objects.trainer_profile())
    await wire.create(objects.new_release(1))
    await at_once(objects.namespaces(count), wire.create)
    for server, workload in objects.servers(count):
        await wire.create(workload)
        await wire.create(server)
    await at_once(objects.bindings(count), wire.create)


async def adopt(fleet: Fleet) -> None:
    """Wait until every binding is served on the first release."""
    first = objects.release_name(1)

    async def all_ready() -> bool:
        ready = sum(on_release(binding, first) for binding in await fleet.wire.all("AdapterBinding"))
        fleet.say(f"{ready} of {fleet.bindings} bindings are served on the first release")
        return ready == fleet.bindings

    await until(all_ready, limit_seconds=fleet.limit_seconds, pause_seconds=2)


async def rest(fleet: Fleet, leader: Replica, seconds: float = _REST_SECONDS) -> Rest:
    """Wait until the operator is idle, then see what it writes while it compares its state at least once."""
    await _no_writes(fleet, leader, seconds / 3)
    fleet.say("nothing happens")
    before = await asyncio.to_thread(usage, leader)
    start = time.monotonic()

    async def long_enough() -> bool:
        elapsed = time.monotonic() - start
        # When it ends, the comparison has: what is measured next has the machine for itself.
        return elapsed > seconds and await asyncio.to_thread(leader.metric, "relora_resync_age_seconds") < elapsed

    await until(long_enough, limit_seconds=fleet.limit_seconds)
    after = await asyncio.to_thread(usage, leader)
    return Rest(seconds=time.monotonic() - start, writes=(after - before).writes)


async def _no_writes(fleet: Fleet, leader: Replica, seconds: float) -> None:
    """Wait until some time passes without a write."""
    seen = -1

    async def unchanged() -> bool:
        nonlocal seen
        fleet.say("waiting until nothing is written")
        before, seen = seen, (await asyncio.to_thread(usage, leader)).writes
        return before == seen

    await until(unchanged, limit_seconds=fleet.limit_seconds, pause_seconds=seconds)


async def take_over(fleet: Fleet, started: Operators, leader: Replica) -> Takeover:
    """Kill the leader when half of the fleet is on the next release, and let a standby go on."""
    standby = started.start()
    await until(
        lambda: asyncio.to_thread(standby.said, "follows the cluster"),
        limit_seconds=_TAKEOVER_SECONDS,
        pause_seconds=1,
    )
    seconds: list[float] = []

    async def kill() -> None:
        leader.stop(signal.SIGKILL)
        start = time.monotonic()
        await until(lambda: asyncio.to_thread(reconciles, standby), limit_seconds=_TAKEOVER_SECONDS, pause_seconds=0.1)
        seconds.append(time.monotonic() - start)

    passage = await fleet.pass_over(3, leader, half_way=kill)
    return Takeover(passage=passage, seconds=seconds[0])


async def plan(cluster: Cluster, fleet: Fleet) -> float:
    """Return how long the command takes that plans the next release, from its start to its end."""
    fleet.say("planning the next release")
    release = cluster.folder / "release.yaml"
    release.write_text(json.dumps(objects.new_release(3)))
    command = [str(Path(sys.executable).with_name("kubectl-relora")), "plan", "-f", str(release)]
    start = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, "--kubeconfig", str(cluster.kubeconfig), stdout=asyncio.subprocess.DEVNULL
    )
    if code := await process.wait():
        raise AssertionError(f"kubectl relora plan ended with {code}")
    return time.monotonic() - start


async def bypass(fleet: Fleet, cluster: Cluster, started: Operators, samples: Path) -> Passage:
    """Let a release pass while someone quicker does the controllers' work."""
    with cluster.without_controllers():
        async with finishing(fleet.wire):
            leader = await started.start_leader(samples=samples)
            return await fleet.pass_over(4, leader)


async def grow(fleet: Fleet, started: Operators) -> Memory:
    """Measure the memory of a leader that has just started, first with the fleet, then with idle bindings besides."""
    sizes = {fleet.bindings: await _resident(fleet, started)}
    await fleet.wire.create(objects.new_release(1, objects.IDLE_MODEL))
    more = IDLE_RATIO * fleet.bindings
    await at_once(objects.namespaces(more, objects.IDLE_MODEL), fleet.wire.create)
    fleet.say(f"creating {more} idle bindings")
    await at_once(objects.idle_bindings(more), fleet.wire.create)
    leader = await started.start_leader()
    await _quiet(fleet, leader)
    started.stop_all()
    sizes[fleet.bindings + more] = await _resident(fleet, started)
    return Memory(mebibytes=sizes)


async def _resident(fleet: Fleet, started: Operators) -> float:
    leader = await started.start_leader()
    await _quiet(fleet, leader)
    used = leader.resident_mebibytes()
    started.stop_all()
    return used


async def _quiet(fleet: Fleet, leader: Replica) -> None:
    """Wait until a leader has reconciled everything and has nothing to do."""
    seen = -1.0

    async def unchanged() -> bool:
        nonlocal seen
        before, seen = seen, await asyncio.to_thread(reconciles, leader)
        fleet.say(f"waiting for a leader to come to rest: {seen:.0f} reconciles")
        return before == seen and seen > fleet.bindings

    await until(unchanged, limit_seconds=2 * fleet.limit_seconds, pause_seconds=5)


async def clear_jobs(fleet: Fleet) -> None:
    """Delete the Jobs of the release that has passed, as their time to live would, so that phases start alike."""
    places = [found["metadata"]["name"] for found in objects.namespaces(fleet.bindings)]

    async def clear(namespace: str) -> None:
        await fleet.wire.delete_all("Job", namespace)
        await fleet.wire.delete_all("Pod", namespace, "&labelSelector=relora.dev/job-kind")

    await at_once(places, clear, _DELETIONS_AT_ONCE)

    async def none_left() -> bool:
        left = await fleet.wire.count("Pod", "&labelSelector=relora.dev/job-kind%3Dreadaptation")
        fleet.say(f"{left} pods of ended Jobs are left")
        return left == 0

    await until(none_left, limit_seconds=fleet.limit_seconds, pause_seconds=2)

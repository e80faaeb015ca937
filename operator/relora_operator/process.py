"""One process of the operator from its start to its end: fill the state, follow, wait for the Lease, act.

It is crash-only: when a part fails, the process ends, and the next leader starts from what the API server holds.
"""

import asyncio
import logging
import os
import signal
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass

import kopf
from prometheus_client import REGISTRY

from relora_operator.clocks import elapsed, now
from relora_operator.core.decide import Decisions
from relora_operator.handlers import build_registry, build_settings
from relora_operator.health import HealthServer
from relora_operator.kube.client import Client
from relora_operator.kube.connect import Login, connect
from relora_operator.kube.errors import KubeError
from relora_operator.kube.events import EventRecorder
from relora_operator.kube.lease import LeaseElection, LeaseLostError
from relora_operator.kube.limiter import RateLimiter
from relora_operator.kube.transport import HttpTransport
from relora_operator.loop.execute import Executor
from relora_operator.loop.gather import Gatherer
from relora_operator.loop.grants import Grants
from relora_operator.loop.intake import Intake
from relora_operator.loop.live import LiveReader
from relora_operator.loop.lostpods import LostPods
from relora_operator.loop.queue import WorkQueue
from relora_operator.loop.reconcile import Reconciler
from relora_operator.loop.refusals import RefusalMemory
from relora_operator.loop.resync import NotInstalledError, Resync
from relora_operator.loop.state import State
from relora_operator.loop.tallies import Tallies
from relora_operator.loop.unapplied import UnappliedSets
from relora_operator.metrics import LEADER, QUEUE_LENGTH, RESYNC_AGE, ReleaseStates, ServerStates
from relora_operator.settings import Settings

logger = logging.getLogger(__name__)

FILL_PAUSE_SECONDS = 2.0
STALE_RESYNCS = 5
LEAST_STALE_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one process, connected."""

    settings: Settings
    transport: HttpTransport
    login: Login
    election: LeaseElection
    state: State
    queue: WorkQueue
    intake: Intake
    resync: Resync
    reconciler: Reconciler
    filled: asyncio.Event
    """Set once everything was read."""


async def run(settings: Settings, decisions: Decisions) -> int:
    """Run until a signal or a fault, and return the exit code.

    Raises:
        ConnectionConfigError: The API server's address is unknown.
        NotInstalledError: A CustomResourceDefinition is missing.
        OSError: The port of the endpoints is taken.
    """
    transport, login = await connect(settings.kubeconfig)
    parts = _assemble(settings, decisions, transport, login)
    health = HealthServer(
        port=settings.http_port, alive={"resync": lambda: _stale(parts)}, ready={"standby": lambda: _unready(parts)}
    )
    port = await health.start()
    logger.info("endpoints on port %d", port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        return await _serve(parts, stop)
    finally:
        await health.stop()
        await transport.close()


def _assemble(settings: Settings, decisions: Decisions, transport: HttpTransport, login: Login) -> Parts:
    identity = f"{settings.identity}_{uuid.uuid4().hex[:8]}"
    election = LeaseElection(
        transport,
        namespace=settings.namespace,
        name=settings.lease_name,
        identity=identity,
        clock=elapsed,
        now=now,
        times=settings.lease_times,
    )
    limiter = RateLimiter(rate=settings.writes_per_second, burst=settings.write_burst, clock=elapsed)
    client = Client(transport, limiter=limiter, fence=election.fence)
    state, queue, grants = State(), WorkQueue(clock=elapsed), Grants()
    refusals, unapplied = RefusalMemory(now), UnappliedSets()
    intake = Intake(state, queue)
    resync = Resync(state=state, client=client, intake=intake, interval_seconds=settings.resync_seconds, clock=elapsed)
    reconciler = Reconciler(
        queue=queue,
        gatherer=Gatherer(
            state=state,
            client=client,
            grants=grants,
            refusals=refusals,
            unapplied=unapplied,
            lost_pods=LostPods(state, now),
            tallies=Tallies(state),
            operator_namespace=settings.namespace,
        ),
        executor=Executor(
            state=state,
            client=client,
            intake=intake,
            queue=queue,
            grants=grants,
            refusals=refusals,
            unapplied=unapplied,
            events=EventRecorder(client, instance=identity, now=now),
        ),
        live=LiveReader(state=state, client=client, intake=intake, operator_namespace=settings.namespace),
        decisions=decisions,
        now=now,
    )
    RESYNC_AGE.set_function(lambda: _age(resync))
    QUEUE_LENGTH.labels("ready").set_function(lambda: len(queue))
    QUEUE_LENGTH.labels("delayed").set_function(lambda: queue.delayed)
    REGISTRY.register(ReleaseStates(lambda: state.releases.values() if queue.is_open else ()))
    REGISTRY.register(ServerStates(lambda: state.servers.values() if queue.is_open else ()))
    return Parts(
        settings=settings,
        transport=transport,
        login=login,
        election=election,
        state=state,
        queue=queue,
        intake=intake,
        resync=resync,
        reconciler=reconciler,
        filled=asyncio.Event(),
    )


async def _serve(parts: Parts, stop: asyncio.Event) -> int:
    """Follow the cluster as a standby, and lead once the Lease is ours; give it back at the end unless it was lost.

    A standby that has read everything needs no list when the leader is gone. It may be behind by what the watches have
    not brought yet, as a leader may: a status names the version it was decided on, other writes follow a live read.
    """
    leading = asyncio.Event()
    tasks = [asyncio.create_task(_hold(parts, leading), name="lease")]
    try:
        if await _unless(stop, _fill(parts), *tasks):
            await _follow(parts, stop, leading, tasks)
    except LeaseLostError as error:
        logger.error("no longer the leader, ending at once: %s", error)  # noqa: TRY400 - the message says it all
        _exit_at_once()
    except NotInstalledError:
        await _end(parts, tasks)
        raise
    except Exception:
        logger.exception("a part of the operator ended")
        await _end(parts, tasks)
        _exit_at_once()
    await _end(parts, tasks)
    return 0


async def _hold(parts: Parts, leading: asyncio.Event) -> None:
    """Take the Lease as soon as this process could work, so that it does not keep it from one that can."""
    await parts.election.acquire(parts.filled.is_set)
    LEADER.set(1)
    leading.set()
    await parts.election.keep()


async def _follow(parts: Parts, stop: asyncio.Event, leading: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Keep up with the cluster, and work once this process leads; return when kopf has ended by a signal."""
    logger.info("follows the cluster, with %d bindings", len(parts.state.bindings.ids()))
    since = elapsed()
    led = asyncio.create_task(leading.wait(), name="leading")
    tasks += [
        asyncio.create_task(parts.reconciler.work(), name=f"worker {number}")
        for number in range(parts.settings.workers)
    ]
    tasks.append(asyncio.create_task(parts.resync.repeat(), name="resync"))
    # The last one: at its end kopf cancels every task that was made after it.
    tasks.append(asyncio.create_task(_watch(parts, stop), name="kopf"))
    try:
        await _first_end(led, *tasks)
        if led.done():
            parts.queue.open(parts.state.reconciled())
            if elapsed() - since > parts.settings.lease_times.duration:  # in such a time a watch can die quietly
                parts.resync.hurry()
            await _first_end(*tasks)
    finally:
        led.cancel()


async def _first_end(*tasks: asyncio.Task[object]) -> None:
    """Return when a task has ended; raise the error of one that failed."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _watch(parts: Parts, stop: asyncio.Event) -> None:
    await kopf.operator(
        registry=build_registry(parts.intake, parts.login),
        settings=build_settings(),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
    )


async def _fill(parts: Parts) -> None:
    while True:
        try:
            await parts.resync.fill()
        except KubeError as error:
            logger.warning("the cluster's state cannot be read yet: %s", error)
            await asyncio.sleep(FILL_PAUSE_SECONDS)
        else:
            parts.filled.set()
            return


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None], *guards: asyncio.Task[None]) -> bool:
    """Await `work` and return True; return False when `stop` was set first. A guard that ends raises its error."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([working, stopping, *guards], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return working in done
    finally:
        working.cancel()
        stopping.cancel()


async def _end(parts: Parts, tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await parts.election.release()
    LEADER.set(0)


def _exit_at_once() -> None:
    """End the process without the courtesies: a task that still runs could write."""
    logging.shutdown()
    os._exit(1)


def _age(resync: Resync) -> float:
    return elapsed() - resync.whole_at if resync.whole_at is not None else 0.0


def _stale(parts: Parts) -> str | None:
    """Tell whether this process has not compared its state with the API server for too long."""
    limit = max(LEAST_STALE_SECONDS, STALE_RESYNCS * parts.settings.resync_seconds)
    age = _age(parts.resync)
    return f"the last comparison with the API server is {age:.0f} s old" if age > limit else None


def _unready(parts: Parts) -> str | None:
    """Tell whether this process could not take over: it has not read everything, or is cut off from the Lease."""
    contact = parts.election.last_contact
    if contact is None:
        return "the API server has not answered yet"
    if not parts.filled.is_set():
        return "the cluster has not been read yet"
    age = elapsed() - contact
    return f"the API server has not answered for {age:.0f} s" if age > parts.settings.lease_times.duration * 2 else None

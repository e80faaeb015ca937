"""The control loop: take a key, gather, decide, act. Errors are told apart here and nowhere else."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from relora_operator.core.actions import (
    ApplyServingSet,
    CreateJob,
    DeleteJob,
    EmitEvent,
    Key,
    Plan,
)
from relora_operator.core.decide import Decisions
from relora_operator.kube.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubeError,
)
from relora_operator.kube.lease import LeaseLostError
from relora_operator.loop.execute import Executor
from relora_operator.loop.gather import Gatherer, IncompleteError
from relora_operator.loop.live import LiveReader
from relora_operator.loop.queue import WorkQueue
from relora_operator.metrics import QUEUE_SECONDS, RECONCILE_SECONDS, RECONCILES

logger = logging.getLogger(__name__)

REFUSED_PAUSE_SECONDS = 30.0
"""Shortest pause after the server refused a write: quota and RBAC change at the pace of people."""


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Works on the queue."""

    queue: WorkQueue
    gatherer: Gatherer
    executor: Executor
    live: LiveReader
    decisions: Decisions
    now: Callable[[], datetime]

    async def work(self) -> NoReturn:
        """Reconcile key after key, for ever.

        Raises:
            LeaseLostError: This process may no longer write.
        """
        while True:
            key, waited = await self.queue.take()
            QUEUE_SECONDS.labels(key.kind).observe(waited)
            started = time.monotonic()
            outcome = "failed"
            try:
                outcome = await self._attempt(key)
            finally:
                self.queue.done(key)
                RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)
                RECONCILES.labels(key.kind, outcome).inc()
            await asyncio.sleep(0)  # a reconcile without requests never waits: the Lease must get its turn

    async def _attempt(self, key: Key) -> str:
        try:
            changed = await self.reconcile(key)
        except LeaseLostError:
            raise
        except (ForbiddenError, InvalidError) as error:
            await self._refused(key, error)
            return "refused"
        except ConflictError as error:
            return await self._conflicted(key, error)
        except (KubeError, IncompleteError) as error:
            wait = (error.retry_after_seconds or 0.0) if isinstance(error, KubeError) else REFUSED_PAUSE_SECONDS
            pause = self.queue.retry(key, at_least_seconds=wait)
            logger.warning("will try again in %.1f s: %s", pause, error, extra={"key": key})
            return "failed"
        except Exception:
            pause = self.queue.retry(key)
            logger.exception("a fault of the operator; will try again in %.1f s", pause, extra={"key": key})
            return "failed"
        self.queue.succeeded(key)
        return "changed" if changed else "unchanged"

    async def reconcile(self, key: Key) -> bool:
        """Bring one object a step further; return whether something outside this process changed.

        Raises:
            KubeError: A read or a write failed.
            IncompleteError: The snapshot would not be whole.
            LeaseLostError: This process may no longer write.
        """
        snapshot = await self.gatherer.gather(key)
        if snapshot is None:
            self._forget(key)
            return False
        plan = self.decisions.decide(snapshot, self.now())
        if _acts_on_the_cluster(plan):
            await self.live.refresh(key, plan)
            again = await self.gatherer.gather(key)
            if again is None:
                return False
            if again != snapshot:  # a plan follows from its snapshot alone
                plan = self.decisions.decide(again, self.now())
        changes = await self.executor.execute(plan)
        if plan.requeue_after_seconds is not None:
            self.queue.add_after(key, plan.requeue_after_seconds)
        return changes > 0

    def _forget(self, key: Key) -> None:
        self.queue.forget(key)
        self.executor.refusals.clear(key)
        if key.kind == "BaseModelRelease":
            self.executor.grants.clear(key.name)
            self.gatherer.tallies.forget(key.name)

    async def _refused(self, key: Key, error: KubeError) -> None:
        pause = self.queue.retry(key, at_least_seconds=max(REFUSED_PAUSE_SECONDS, error.retry_after_seconds or 0.0))
        logger.warning("refused; will try again in %.1f s: %s", pause, error, extra={"key": key})
        warning = EmitEvent(key=key, type="Warning", reason="WriteRefused", message=str(error))
        await self.executor.execute(Plan(actions=(warning,)))

    async def _conflicted(self, key: Key, error: ConflictError) -> str:
        """Look again at what changed meanwhile, so that the next decision starts from there."""
        pause = self.queue.retry(key)
        logger.info("something changed meanwhile; will try again in %.1f s: %s", pause, error, extra={"key": key})
        try:
            await self.live.refresh_all(key)
        except KubeError as fault:
            logger.warning("could not look again: %s", fault, extra={"key": key})
        return "conflict"


def _acts_on_the_cluster(plan: Plan) -> bool:
    """Tell whether the plan rests on more than what its writes are guarded by.

    A status is guarded by its resourceVersion. The time to live of a Job that has ended needs no guard: what has
    ended and is recorded stays so.
    """
    return any(isinstance(action, CreateJob | DeleteJob | ApplyServingSet) for action in plan.actions)

"""Leader election on a Lease, with a fence for the writes of a leader that was away.

Differs from the usual client libraries in one point: every write asks `fence()` first. A process that was stopped for
a minute wakes up with a request half prepared; the fence knows from the local clock alone that the Lease may be
another's by now. Times in the Lease are for people: no decision compares the clocks of two hosts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import Field

from relora_contract.api.meta import ObjectMeta
from relora_contract.model import Model
from relora_operator.kube.errors import AlreadyExistsError, ConflictError, JsonObject, KubeError, NotFoundError
from relora_operator.kube.resources import LEASES
from relora_operator.kube.transport import Transport

logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """This process is not the leader, or cannot know that it is."""


@dataclass(frozen=True, kw_only=True)
class LeaseTimes:
    """Durations of the election, in seconds.

    Attributes:
        duration: How long others wait after the last renewal that they saw.
        renew_deadline: How long the leader tries to renew before it gives up.
        retry: Pause between two tries.
        timeout: Limit of one request.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        """Refuse times under which two leaders could write at once.

        Raises:
            ValueError: The leader would go on longer than the others wait.
        """
        if not self.retry < self.renew_deadline < self.duration or not self.timeout < self.duration:
            raise ValueError("lease times: retry < renew deadline < duration and timeout < duration must hold")


class _LeaseSpec(Model):
    holder_identity: str = ""
    lease_duration_seconds: int = 15
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int = 0


class _Lease(Model):
    metadata: ObjectMeta
    spec: _LeaseSpec = Field(default_factory=_LeaseSpec)


@dataclass
class _Observation:
    """The version of the Lease that was seen last, and when the local clock first saw it."""

    resource_version: str = ""
    since: float = field(default=0.0)


class LeaseElection:
    """Takes, keeps and gives back one Lease.

    Args:
        transport: Sends the requests, past the write limit: the Lease must not queue behind a fleet's statuses.
        namespace: Where the Lease lies.
        name: Its name.
        identity: Who we are; unique per process, so that a restarted container is another holder.
        clock: Monotonic seconds that also count suspension.
        now: Time of day for the Lease's own fields.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        times: LeaseTimes | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._times = times or LeaseTimes()
        self._sleep = sleep
        self._observed = _Observation()
        self._held: _Lease | None = None
        self._renewal_sent_at = float("-inf")
        self.last_contact: float | None = None
        """When the API server last answered about the Lease; None before its first answer."""

    def fence(self) -> None:
        """Return if a write that is sent now reaches the server while the Lease is ours.

        Raises:
            LeaseLostError: The last successful renewal was sent too long ago.
        """
        age = self._clock() - self._renewal_sent_at
        if self._held is None or age >= self._times.duration - self._times.timeout:
            raise LeaseLostError(f"the Lease was last renewed {age:.1f} s ago; no further write is safe")

    async def acquire(self, is_prepared: Callable[[], bool] = lambda: True) -> None:
        """Return when this process has become the leader.

        Args:
            is_prepared: Asked before the Lease is taken. Until it says yes the Lease is only watched, so that the time
                for which its holder has been silent is known by then.
        """
        while not await self._try_to_take(is_prepared):
            await self._sleep(self._times.retry)
        logger.info("became the leader", extra={"lease": self._name})

    async def keep(self) -> None:
        """Renew the Lease until that fails.

        Raises:
            LeaseLostError: Always, in the end.
        """
        while True:
            await self._sleep(self._times.retry)
            await self._renew()
            age = self._clock() - self._renewal_sent_at
            if age > self._times.renew_deadline:
                raise LeaseLostError(f"the Lease could not be renewed for {age:.1f} s")

    async def release(self) -> None:
        """Give the Lease back, so that the next leader need not wait. Failure is harmless and logged."""
        if self._held is None:
            return
        held, self._held = self._held, None
        spec = held.spec.model_copy(
            update={"holder_identity": "", "lease_duration_seconds": 1, "renew_time": self._time_text()}
        )
        try:
            await self._send("PUT", self._body(spec, held.metadata.resource_version))
        except KubeError as error:
            logger.warning("the Lease was not given back: %s", error, extra={"lease": self._name})
        else:
            logger.info("gave the Lease back", extra={"lease": self._name})

    async def _try_to_take(self, is_prepared: Callable[[], bool]) -> bool:
        sent_at = self._clock()
        try:
            lease = _Lease.model_validate(await self._send("GET"))
        except NotFoundError:
            return is_prepared() and await self._write_as_holder("POST", None, sent_at)
        except KubeError as error:
            logger.warning("the Lease cannot be read: %s", error, extra={"lease": self._name})
            return False
        if self._observed.resource_version != lease.metadata.resource_version:
            self._observed = _Observation(lease.metadata.resource_version, self._clock())
        vacant = lease.spec.holder_identity in {"", self._identity}
        silent_for = self._clock() - self._observed.since
        if (not vacant and silent_for < lease.spec.lease_duration_seconds) or not is_prepared():
            return False
        return await self._write_as_holder("PUT", lease, sent_at)

    async def _write_as_holder(self, verb: str, previous: _Lease | None, sent_at: float) -> bool:
        transitions = previous.spec.lease_transitions + 1 if previous else 0
        spec = _LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=round(self._times.duration),
            acquire_time=self._time_text(),
            renew_time=self._time_text(),
            lease_transitions=transitions,
        )
        version = previous.metadata.resource_version if previous else ""
        try:
            answer = await self._send(verb, self._body(spec, version))
        except (ConflictError, AlreadyExistsError):
            return False
        except KubeError as error:
            logger.warning("the Lease cannot be taken: %s", error, extra={"lease": self._name})
            return False
        self._hold(answer, sent_at)
        return True

    async def _renew(self) -> None:
        if self._held is None:
            raise LeaseLostError("the Lease is not held")
        spec = self._held.spec.model_copy(update={"renew_time": self._time_text()})
        sent_at = self._clock()
        try:
            self._hold(await self._send("PUT", self._body(spec, self._held.metadata.resource_version)), sent_at)
        except ConflictError:
            await self._look_who_holds()
        except NotFoundError as error:
            raise LeaseLostError("the Lease was deleted") from error
        except KubeError as error:
            logger.warning("the Lease was not renewed: %s", error, extra={"lease": self._name})

    async def _look_who_holds(self) -> None:
        """After a conflict: our own earlier write may have arrived although its answer did not."""
        try:
            lease = _Lease.model_validate(await self._send("GET"))
        except KubeError as error:
            logger.warning("the Lease cannot be read: %s", error, extra={"lease": self._name})
            return
        if lease.spec.holder_identity != self._identity:
            raise LeaseLostError(f"the Lease is held by {lease.spec.holder_identity or 'nobody'}")
        self._held = lease

    def _hold(self, answer: JsonObject, sent_at: float) -> None:
        self._held = _Lease.model_validate(answer)
        self._renewal_sent_at = sent_at

    def _body(self, spec: _LeaseSpec, resource_version: str) -> JsonObject:
        metadata: JsonObject = {"name": self._name, "namespace": self._namespace}
        if resource_version:
            metadata["resourceVersion"] = resource_version
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": dict(spec.to_json()),
        }

    async def _send(self, verb: str, body: JsonObject | None = None) -> JsonObject:
        name = "" if verb == "POST" else self._name
        try:
            answer = await self._transport.request(
                verb, LEASES, LEASES.path(self._namespace, name), body=body, timeout_seconds=self._times.timeout
            )
        except KubeError as error:
            if error.status:
                self.last_contact = self._clock()
            raise
        self.last_contact = self._clock()
        return answer

    def _time_text(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

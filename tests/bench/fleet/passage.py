"""The passage of one release through the fleet, from its apply to the last status."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.fleet.census import READAPTATION, JobCensus, Verdict, verdict
from bench.fleet.objects import new_release, release_name
from bench.fleet.operators import Usage, usage
from bench.fleet.wire import Wire
from controller.api import Document, condition
from controller.replica import Replica

_POLL_SECONDS = 0.25

Say = Callable[[str], None]
"""Takes what is going on now."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What one release took."""

    verdict: Verdict
    jobs: int
    duplicates: int
    seconds: float
    first_job_seconds: float
    """From the apply to the first Job of any kind: that of the delta."""
    first_readaptation_seconds: float
    usage: Usage
    """What the leader used; nothing when it was killed meanwhile."""
    peak_mebibytes: float

    @property
    def bindings(self) -> int:
        """Size of the fleet."""
        return self.verdict.bindings

    @property
    def per_second(self) -> float:
        """Bindings per second."""
        return self.bindings / self.seconds

    @property
    def writes_per_binding(self) -> float:
        """How many writes it took for each binding, those for servers and for the release included."""
        return self.usage.writes / self.bindings


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The fleet under test and who watches it.

    Attributes:
        limit_seconds: How long one passage may take.
    """

    wire: Wire
    census: JobCensus
    bindings: int
    limit_seconds: float
    say: Say

    async def pass_over(
        self, number: int, replica: Replica, *, half_way: Callable[[], Awaitable[None]] | None = None
    ) -> Passage:
        """Apply the `number`-th release and wait until every binding is on it.

        Args:
            number: Of the release.
            replica: The leader.
            half_way: Called once when half of the bindings are on the release; it kills the leader.

        Raises:
            TimeoutError: It took longer than the limit.
        """
        name = release_name(number)
        before = await asyncio.to_thread(usage, replica)
        start = time.monotonic()
        await self.wire.create(new_release(number))
        await self._complete(name, half_way)
        seconds = time.monotonic() - start
        gone = half_way is not None
        used = Usage(cpu_seconds=0.0) if gone else await asyncio.to_thread(usage, replica) - before
        return Passage(
            verdict=await verdict(self.wire, name),
            jobs=self.census.jobs(name),
            duplicates=self.census.duplicates(name),
            seconds=seconds,
            first_job_seconds=self.census.first["delta", name] - start,
            first_readaptation_seconds=self.census.first[READAPTATION, name] - start,
            usage=used,
            peak_mebibytes=0.0 if gone else replica.resident_mebibytes(peak=True),
        )

    async def _complete(self, name: str, half_way: Callable[[], Awaitable[None]] | None) -> None:
        async with asyncio.timeout(self.limit_seconds):
            while True:
                found = await self.wire.get("BaseModelRelease", name)
                promoted = _promoted(found)
                self.say(f"{name}: {self.census.jobs(name)} Jobs, {promoted} of {self.bindings} promoted")
                if half_way is not None and promoted * 2 >= self.bindings:
                    await half_way()
                    half_way = None
                if condition(found, "Complete").get("status") == "True" and promoted == self.bindings:
                    return
                await asyncio.sleep(_POLL_SECONDS)


def _promoted(release: Document) -> int:
    counts: dict[str, int] = release.get("status", {}).get("bindings", {})
    return counts.get("promoted", 0)

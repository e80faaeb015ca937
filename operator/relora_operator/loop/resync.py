"""Compares the state with the API server: first to fill it, then to find what the watches missed.

A watch can lose a deletion for ever, and a restart of the API server can lose more. The comparison needs metadata
only: a pass over an unchanged fleet reads names and versions and fetches nothing else.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from relora_operator.kube.client import Client
from relora_operator.kube.errors import JsonObject, KubeError, NotFoundError
from relora_operator.kube.parse import UnreadableError, identity
from relora_operator.kube.resources import ResourceType
from relora_operator.loop.cache import ObjectId, version_of
from relora_operator.loop.intake import Intake
from relora_operator.loop.state import State
from relora_operator.metrics import REPAIRS, UNREADABLE

logger = logging.getLogger(__name__)

_MANY = 100
"""More differences than this are read as a list of whole objects, not one by one."""
_FEW = 100
"""Whole objects in a page: as text and as JSON they take several times the memory of what is kept of them."""
PAUSE_PER_COST = 19.0
"""A pass may take a twentieth of the time: at 5,000 bindings it takes seven seconds of processor time."""
MOST_PAUSE_SECONDS = 240.0


class NotInstalledError(Exception):
    """A CustomResourceDefinition is missing."""


class RewoundError(Exception):
    """The cluster is older than what is known of it, as after a restore of etcd: all is to be read anew."""


@dataclass(kw_only=True)
class Resync:
    """Keeps the state equal to the cluster.

    Attributes:
        interval_seconds: Least pause between two passes; it grows with how long a pass takes.
        clock: Monotonic seconds.
        whole_at: When the last complete pass ended; until the first has, when it was begun; None before that.
    """

    state: State
    client: Client
    intake: Intake
    interval_seconds: float
    clock: Callable[[], float]
    whole_at: float | None = field(default=None, init=False)
    _newest: dict[str, int] = field(default_factory=dict, init=False)
    """By kind, the latest moment that a list has shown."""
    _older: set[str] = field(default_factory=set, init=False)
    """Kinds of which the last list was older than that."""
    _took_seconds: float = field(default=0.0, init=False)
    _hurried: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def fill(self) -> None:
        """Read everything once, the kinds side by side: who waits is a fleet without a leader.

        Raises:
            KubeError: A list failed.
            NotInstalledError: One of our kinds is not installed.
        """
        if self.whole_at is None:
            self.whole_at = self.clock()
        try:
            async with asyncio.TaskGroup() as group:
                for cache in self.state.caches:
                    group.create_task(self._fill_one(cache.resource))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        self._finish()

    async def _fill_one(self, resource: ResourceType) -> None:
        try:
            await self._read_all(resource)
        except NotFoundError as error:
            name = f"{resource.plural}.{resource.group}"
            raise NotInstalledError(
                f"the kind {resource.kind} ({name}) is not installed: "
                "install the chart with crds.enabled=true, or apply the manifests in crds/"
            ) from error

    async def repeat(self) -> NoReturn:
        """Compare for ever; a pass that fails is logged and tried again after the pause.

        Raises:
            RewoundError: The cluster was set back.
        """
        while True:
            await self._pause()
            try:
                repaired = await self.compare()
            except KubeError as error:
                logger.warning("the comparison with the API server failed: %s", error)
            else:
                if repaired:
                    logger.info("the comparison with the API server brought %d changes", repaired)

    def hurry(self) -> None:
        """Let the next pass of `repeat` begin at once."""
        self._hurried.set()

    @property
    def pause_seconds(self) -> float:
        """How long the next pass waits."""
        return max(self.interval_seconds, min(MOST_PAUSE_SECONDS, PAUSE_PER_COST * self._took_seconds))

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self.pause_seconds):
                await self._hurried.wait()
        except TimeoutError:
            return
        self._hurried.clear()

    async def compare(self) -> int:
        """Bring the state up to date and return how many objects were behind.

        Raises:
            KubeError: A read failed.
            RewoundError: A kind is older than it was, for the second time.
        """
        repaired, start = 0, self.clock()
        for cache in self.state.caches:
            count = await self._compare_one(cache.resource)
            REPAIRS.labels(cache.resource.plural).inc(count)
            repaired += count
        self._took_seconds = self.clock() - start
        self._finish()
        return repaired

    async def _compare_one(self, resource: ResourceType) -> int:
        cache = self.state.cache_of(resource)
        listed: list[ObjectId] = []
        behind: list[ObjectId] = []
        version = 0
        async for page in self.client.pages(resource, metadata_only=True):
            version = version_of(page.resource_version)
            for raw in page.items:
                metadata = identity(raw)
                object_id = (metadata.namespace, metadata.name)
                listed.append(object_id)
                if not cache.knows(*object_id, metadata.uid, version_of(metadata.resource_version)):
                    behind.append(object_id)
        self._check_moment(resource, version)
        gone = [
            self.intake.missing(resource, *object_id, uid, version) for object_id, uid in cache.ghosts(listed, version)
        ]
        if len(behind) > _MANY:
            return sum(gone) + await self._read_all(resource)
        return sum(gone) + sum([await self._read_one(resource, object_id) for object_id in behind])

    def _check_moment(self, resource: ResourceType, version: int) -> None:
        """Notice that versions went back; once may be the answer of a server that lags behind the others.

        Raises:
            RewoundError: They did in two passes, one after the other.
        """
        name = resource.plural
        if version >= self._newest.get(name, 0):
            self._newest[name] = version
            self._older.discard(name)
            return
        if name in self._older:
            raise RewoundError(f"the list of {name} has version {version}, and had {self._newest[name]} before")
        self._older.add(name)

    async def _read_one(self, resource: ResourceType, object_id: ObjectId) -> bool:
        try:
            return self._take_in(resource, await self.client.get(resource, *object_id))
        except NotFoundError:
            return False

    async def _read_all(self, resource: ResourceType) -> int:
        changed = 0
        async for page in self.client.pages(resource, page_size=_FEW):
            self._newest[resource.plural] = max(self._newest.get(resource.plural, 0), version_of(page.resource_version))
            changed += sum([self._take_in(resource, raw) for raw in page.items])
        return changed

    def _take_in(self, resource: ResourceType, raw: JsonObject) -> bool:
        try:
            return self.intake.seen(resource, raw)
        except UnreadableError as error:
            logger.warning("an object of %s has no usable metadata: %s", resource.plural, error)
            return False

    def _finish(self) -> None:
        self.whole_at = self.clock()
        for cache in self.state.caches:
            UNREADABLE.labels(cache.resource.plural).set(len(cache.unreadable))

"""What the views are made of, read from the cluster."""

from dataclasses import dataclass, field
from datetime import datetime

from relora_contract.api.binding import AdapterBinding
from relora_kubectl.cluster import Cluster
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.kinds import BINDING, RELEASE, SERVER
from relora_kubectl.status import StatusView, selected, status_view, under_way

BINDINGS_EVERY_SECONDS = 30
"""Bindings only tell how long steps take: while one watches, they are read less often than the rest."""


@dataclass
class StatusLook:
    """Reads the status of releases.

    Args:
        cluster: Where to look.
        name: The release that is asked for; None for all.
        namespace: Where servers and bindings are looked for; empty for all namespaces.
    """

    cluster: Cluster
    name: str | None
    namespace: str
    _bindings: list[AdapterBinding] = field(default_factory=list)
    _read_at: datetime | None = None

    async def __call__(self, now: datetime) -> StatusView:
        """Return the view of this moment.

        Raises:
            PluginError: The release does not exist, or the cluster cannot be read.
        """
        releases = await self.cluster.every(RELEASE)
        shown = selected(releases, self.name)
        if self.name is not None and not shown:
            raise PluginError(f"BaseModelRelease {self.name} does not exist", ExitCode.REFUSED)
        servers = await self.cluster.every(SERVER, self.namespace)
        if any(under_way(release) for release in shown) and self._stale(now):
            self._bindings = await self.cluster.every(BINDING, self.namespace)
            self._read_at = now
        return status_view(releases, name=self.name, servers=servers, bindings=self._bindings, now=now)

    def _stale(self, now: datetime) -> bool:
        return self._read_at is None or (now - self._read_at).total_seconds() >= BINDINGS_EVERY_SECONDS

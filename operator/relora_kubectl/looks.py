"""What the views are made of, read from the cluster."""

from dataclasses import dataclass, field
from datetime import datetime

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_kubectl.cluster import Cluster
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.fleet import Fleet
from relora_kubectl.history import HistoryView, binding_history, server_history
from relora_kubectl.kinds import BINDING, PROFILE, RELEASE, SERVER, Reference, full_name, parse_reference
from relora_kubectl.retry import NothingToRetryError, retried
from relora_kubectl.status import StatusView, selected, status_view, under_way
from relora_operator.core.times import timestamp

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
    _profiles: dict[str, TrainerProfile] = field(default_factory=dict)
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
            self._profiles = {profile.metadata.name: profile for profile in await self.cluster.every(PROFILE)}
            self._read_at = now
        return status_view(
            releases,
            name=self.name,
            servers=servers,
            bindings=self._bindings,
            profiles=self._profiles,
            namespace=self.namespace,
            now=now,
        )

    def _stale(self, now: datetime) -> bool:
        return self._read_at is None or (now - self._read_at).total_seconds() >= BINDINGS_EVERY_SECONDS


async def look_around(cluster: Cluster) -> Fleet:
    """Return everything that decides about a release.

    Raises:
        PluginError: The cluster cannot be read.
    """
    return Fleet(
        releases=await cluster.every(RELEASE),
        profiles=await cluster.every(PROFILE),
        namespaces=await cluster.namespaces(),
        bindings=await cluster.every(BINDING),
        servers=await cluster.every(SERVER),
    )


async def look_back(cluster: Cluster, namespace: str, name: str) -> HistoryView:
    """Return the history of a binding or a server.

    Args:
        cluster: Where to look.
        namespace: Namespace of the object.
        name: `NAME` or `KIND/NAME`.

    Raises:
        PluginError: There is no such object, or a binding and a server have the name.
    """
    found: list[HistoryView] = []
    wanted = parse_reference(name, (BINDING, SERVER)) if "/" in name else None
    plain_name = wanted.name if wanted is not None else name
    if wanted is None or wanted.kind is BINDING:
        binding = await cluster.find(BINDING, namespace, plain_name)
        found += [binding_history(binding)] if binding is not None else []
    if wanted is None or wanted.kind is SERVER:
        server = await cluster.find(SERVER, namespace, plain_name)
        found += [server_history(server)] if server is not None else []
    if not found:
        kinds = wanted.kind.resource.kind if wanted is not None else "AdapterBinding or AdapterServer"
        raise PluginError(f"no {kinds} is named {full_name(namespace, plain_name)}", ExitCode.REFUSED)
    if len(found) > 1:
        raise PluginError(f"a binding and a server are named {name}: write adb/{name} or ads/{name}", ExitCode.USAGE)
    return found[0]


async def ask_again(cluster: Cluster, namespace: str, wanted: Reference, now: datetime) -> str:
    """Ask for another attempt, if there is anything to try again; return what starts again.

    Raises:
        PluginError: There is no such object, nothing to try again, or no right to ask for it.
    """
    namespace = namespace if wanted.kind.resource.namespaced else ""
    one = await cluster.find(wanted.kind, namespace, wanted.name)
    named = f"{wanted.kind.resource.kind} {full_name(namespace, wanted.name)}"
    if one is None:
        raise PluginError(f"{named} does not exist", ExitCode.REFUSED)
    try:
        told = retried(one)
    except NothingToRetryError as error:
        raise PluginError(f"{named}: nothing to retry: {error}", ExitCode.REFUSED) from error
    await cluster.request_retry(wanted.kind, one.metadata, timestamp(now))
    return f"{named}: {told}"

"""Which servers would move to a release, and which bindings are kept from a Job by their server."""

from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_contract.model import Model
from relora_contract.serving import ServedAdapter, ServingSet
from relora_kubectl.advice import Advice, advice_on
from relora_kubectl.fleet import Fleet
from relora_operator.core.actions import Key
from relora_operator.core.fallback import may_stay
from relora_operator.core.lineage import Chain, Refusal
from relora_operator.core.membership import Member, Membership, binding_key, membership, served_name, server_key
from relora_operator.core.pairs import offer
from relora_operator.core.reasons import Reason
from relora_operator.core.server_plan import newer_releases, served_release
from relora_operator.core.serving import server_wide_refusal, suspension
from relora_operator.core.snapshot import ServerSnapshot

MOST_KEEPERS = 10


class Keeper(Model):
    """A member for which there would be no adapter on the release."""

    namespace: str
    name: str
    reason: str


class ServerMove(Model):
    """A server for which the release is the newest one that a member takes part in."""

    namespace: str
    name: str
    release_name: str
    """The release that it serves."""
    members: int
    waiting: int
    """Members that must pass first."""
    kept_by: list[Keeper] = Field(default_factory=list)
    """Up to ten members that keep it where it is, or that stay behind."""
    splits: bool = False
    """Whether those stay behind, on the fallback workload, when the time of `spec.upgrade` is over."""
    stalled: Advice | None = None
    """Why nothing is written to its workload: it cannot be, it is suspended, or a roll-out was taken back."""

    @property
    def moves(self) -> bool:
        """Whether it moves: once every waiting member has passed, or without those who stay behind."""
        return (self.splits or not self.kept_by) and self.stalled is None


class Servers:
    """The servers of a release's model, with their members; each is built once."""

    def __init__(
        self, release: BaseModelRelease, family: tuple[BaseModelRelease, ...], order: Chain, fleet: Fleet
    ) -> None:
        self._release = release
        self._family = family
        self._order = order
        self._namespaces = dict(fleet.namespaces)
        self._profiles = {profile.metadata.name: profile for profile in fleet.profiles}
        self._servers = {_key(server): server for server in fleet.servers if server.metadata.deletion_timestamp is None}
        self._naming: dict[Key, list[AdapterBinding]] = {}
        for binding in fleet.bindings:
            named = server_key(binding)
            if named is not None:
                self._naming.setdefault(named, []).append(binding)
        self._members = {
            key: membership(server, _seated(key, server, self._naming.get(key, [])), bindings, fleet.namespaces)
            for key, server in self._servers.items()
            if (bindings := self._naming.get(key, []))
        }

    def refusal(self, binding: AdapterBinding) -> Refusal | None:
        """Return why the binding's server keeps its Job from starting."""
        key = server_key(binding)
        if key is None:
            return None
        server = self._servers.get(key)
        if server is None:
            told = f"AdapterServer {key.namespace}/{key.name} (spec.serverRef) does not exist"
            return Refusal(Reason.SERVER_NOT_FOUND, told)
        return self._members[key].refused.get(binding_key(binding)) or server_wide_refusal(server)

    def snapshots(self) -> Iterator[tuple[ServerSnapshot, ServingSet | None, tuple[Member, ...]]]:
        """Yield the servers of the model that members name, with what each serves and its members, in order."""
        for key in sorted(self._members):
            server = self._servers[key]
            if server.spec.model == self._release.spec.model:
                yield self._snapshot(server), _seated(key, server, self._naming[key]), self._members[key].members

    def moves(self, excluded: Mapping[Key, Refusal]) -> list[ServerMove]:
        """Return the servers that the release concerns; `excluded` are the bindings for which no Job would start."""
        concerned = [key for key, members in self._members.items() if self._is_next(key, members)]
        return [self._move(key, excluded) for key in sorted(concerned)]

    def _is_next(self, key: Key, members: Membership) -> bool:
        """Tell whether the release is the newest one to which the server could move."""
        server = self._servers[key]
        if server.spec.model != self._release.spec.model:
            return False
        newer = newer_releases(self._snapshot(server), self._order, members.members)
        return bool(newer) and newer[0].metadata.name == self._release.metadata.name

    def _snapshot(self, server: AdapterServer) -> ServerSnapshot:
        return ServerSnapshot(
            server=server,
            target=None,
            rivals=(),
            members=(),
            family=self._family,
            namespaces=self._namespaces,
            profiles=self._profiles,
        )

    def _move(self, key: Key, excluded: Mapping[Key, Refusal]) -> ServerMove:
        server, name = self._servers[key], self._release.metadata.name
        names = {binding_key(member.binding): member.served_name for member in self._members[key].members}
        members = [member.binding for member in self._members[key].members]
        lacking = [binding for binding in members if offer(binding, name, self._order) is None]
        kept_by = list(self._keepers(lacking, excluded))
        staying = frozenset(names[Key("AdapterBinding", one.namespace, one.name)] for one in kept_by)
        stalled = server_wide_refusal(server) or suspension(server) or _rolled_back(server, name)
        return ServerMove(
            namespace=key.namespace,
            name=key.name,
            release_name=served_release(self._snapshot(server)),
            members=len(members),
            waiting=len(lacking),
            kept_by=kept_by[:MOST_KEEPERS],
            splits=bool(staying)
            and len(staying) < len(names)
            and staying <= may_stay(server, frozenset(names.values())),
            stalled=advice_on(stalled) if stalled is not None else None,
        )

    def _keepers(self, lacking: Iterable[AdapterBinding], excluded: Mapping[Key, Refusal]) -> Iterable[Keeper]:
        for binding in lacking:
            key, candidate = binding_key(binding), binding.status.candidate
            reason = str(excluded[key].reason) if key in excluded else ""
            if not reason and candidate is not None and candidate.release_name == self._release.metadata.name:
                reason = candidate.reason or ""
            if reason:
                yield Keeper(namespace=key.namespace, name=key.name, reason=reason)


def _key(server: AdapterServer) -> Key:
    return Key("AdapterServer", server.metadata.namespace, server.metadata.name)


def _seated(key: Key, server: AdapterServer, bindings: Iterable[AdapterBinding]) -> ServingSet | None:
    """Return the set that the server holds as its members record it: whoever is served keeps its seat."""
    held: dict[str, ServedAdapter] = {}
    base = None
    beside = set(server.status.fallback.served_names) if server.status.fallback is not None else set()
    for binding in bindings:
        current = binding.status.current
        seat = current.server_ref if current is not None else None
        if current is None or seat is None or (seat.namespace, seat.name) != (key.namespace, key.name):
            continue
        name = served_name(binding, server.metadata.namespace)
        if name in beside:  # on the fallback workload
            continue
        base = current.base
        held.setdefault(name, ServedAdapter(name=name, uri=current.adapter.uri, digest=current.adapter.digest))
    if base is None or server.status.current is None:
        return None
    return ServingSet.of(server.status.current.release_name, base, list(held.values()))


def _rolled_back(server: AdapterServer, release_name: str) -> Refusal | None:
    """Return why nothing more of the release is tried on the server, until a retry is asked for."""
    failed = [one for one in server.status.rolled_back if one.release_name == release_name]
    return Refusal(Reason.ROLLED_BACK, failed[-1].message or "the roll-out failed") if failed else None

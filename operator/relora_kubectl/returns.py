"""Where servers and bindings go when the release that they are on is withdrawn, by the operator's own rules."""

from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.release import BaseModelRelease
from relora_contract.model import Model
from relora_contract.serving import ServingSet
from relora_kubectl.advice import Advice, advice_on
from relora_kubectl.fleet import Fleet
from relora_kubectl.server_moves import MOST_KEEPERS, Keeper, Servers
from relora_operator.core.attempts import active
from relora_operator.core.choice import outlives_source
from relora_operator.core.lineage import Chain, Refusal, chain
from relora_operator.core.membership import Member, server_key
from relora_operator.core.pairs import baseline, offer
from relora_operator.core.reasons import Reason
from relora_operator.core.server_plan import (
    release_to_move_to,
    releases_to_return_to,
    served_release,
    set_to_return_to,
)
from relora_operator.core.serving import server_wide_refusal, suspension
from relora_operator.core.snapshot import ServerSnapshot


class ServerReturn(Model):
    """A server that leaves the release, or would."""

    namespace: str
    name: str
    members: int
    under_way: bool = False
    """Its roll-out of the release is not finished, and is taken back."""
    release_name: str | None = None
    """Where it goes; None where it stays, since somebody would be dropped."""
    kept_by: list[Keeper] = Field(default_factory=list)
    """Up to ten members that are served and have no pair to return to."""
    stalled: Advice | None = None
    """Why nothing is written to its workload."""

    @property
    def leaves(self) -> bool:
        """Whether it leaves the release by itself."""
        return self.release_name is not None and self.stalled is None


class BindingReturn(Model):
    """A binding without a server that has a pair of the release in use."""

    namespace: str
    name: str
    release_name: str | None = None
    """Of the pair to which it returns; None where it has none and keeps its pair."""


class Returns(Model):
    """What a withdrawal does to a fleet."""

    servers: list[ServerReturn]
    bindings: list[BindingReturn]
    jobs: int
    """Re-adaptation Jobs that end."""
    delta_jobs: int


def returns_of(release: BaseModelRelease, fleet: Fleet) -> Returns:
    """Return what happens when `release`, which the fleet need not know as withdrawn, is withdrawn."""
    taken = release.model_copy(update={"spec": release.spec.model_copy(update={"withdrawn": True})})
    name = taken.metadata.name
    family = (*(one for one in fleet.releases if one.metadata.name != name), taken)
    order = chain(taken.spec.model, family)
    bindings = [one for one in fleet.bindings if one.spec.model == taken.spec.model]
    before = chain(taken.spec.model, fleet.releases)
    afterwards = [_without_outdated_candidate(one, before, order) for one in bindings]
    servers = Servers(taken, family, order, replace(fleet, bindings=afterwards))
    return Returns(
        servers=list(_servers(servers, order, name)),
        bindings=sorted(_bindings(bindings, order, name), key=lambda one: (one.namespace, one.name)),
        jobs=sum(_ends(one, after, name) for one, after in zip(bindings, afterwards, strict=True)),
        delta_jobs=sum(active(delta) for delta in release.status.deltas),
    )


def _without_outdated_candidate(binding: AdapterBinding, before: Chain, after: Chain) -> AdapterBinding:
    """Return the binding without a candidate that gives way: it was made from a pair that is no longer the start."""
    candidate, start = binding.status.candidate, baseline(binding, after)
    if start == baseline(binding, before) or candidate is None or outlives_source(binding, candidate, start, after):
        return binding
    return binding.model_copy(update={"status": binding.status.model_copy(update={"candidate": None})})


def _ends(binding: AdapterBinding, after: AdapterBinding, name: str) -> bool:
    """Tell whether a Job of the binding ends: one for the release, or one that starts from a pair of it."""
    candidate = binding.status.candidate
    if candidate is None or not active(candidate):
        return False
    return candidate.release_name == name or after.status.candidate is None


def _bindings(bindings: list[AdapterBinding], order: Chain, name: str) -> Iterator[BindingReturn]:
    for binding in bindings:
        current = binding.status.current
        deleted = binding.metadata.deletion_timestamp is not None
        if deleted or server_key(binding) is not None or current is None or current.release_name != name:
            continue
        start = baseline(binding, order)
        goes = start.release if start is not None and start.release != name else None
        yield BindingReturn(namespace=binding.metadata.namespace, name=binding.metadata.name, release_name=goes)


def _servers(servers: Servers, order: Chain, name: str) -> Iterator[ServerReturn]:
    for snapshot, live, members in servers.snapshots():
        current, candidate = snapshot.server.status.current, snapshot.server.status.candidate
        if current is None:
            continue
        under_way = candidate is not None and candidate.release_name == name != current.release_name
        if under_way:
            # A suspended server begins no roll-out, but one that is under way is taken back all the same.
            refusal = server_wide_refusal(snapshot.server)
            stalled = advice_on(refusal) if refusal is not None else None
            taken_back = {"under_way": True, "stalled": stalled}
            yield _return(snapshot, members, current.release_name).model_copy(update=taken_back)
        elif served_release(snapshot) == name:
            rolled_back = snapshot.server.status.rolled_back
            forward = _arriving(snapshot, order) or release_to_move_to(snapshot, order, members, rolled_back)
            yield _return(snapshot, members, forward) if forward else _back(snapshot, order, live, members)


def _arriving(snapshot: ServerSnapshot, order: Chain) -> str | None:
    """Return the newer release that is being rolled out: that goes on."""
    candidate = snapshot.server.status.candidate
    if candidate is None or candidate.state != "RollingOut" or order.withdrawn(candidate.release_name):
        return None
    return candidate.release_name


def _back(snapshot: ServerSnapshot, order: Chain, live: ServingSet | None, members: tuple[Member, ...]) -> ServerReturn:
    back = set_to_return_to(snapshot, order, live, members)
    if back is None:
        earlier = next(iter(releases_to_return_to(snapshot, order)), None)
        served = {adapter.name for adapter in live.adapters} if live is not None else set()
        stuck = [
            Keeper(
                namespace=member.binding.metadata.namespace,
                name=member.binding.metadata.name,
                reason=Reason.RELEASE_WITHDRAWN,
            )
            for member in members
            if member.served_name in served and (earlier is None or offer(member.binding, earlier, order) is None)
        ]
        return _return(snapshot, members, None).model_copy(update={"kept_by": stuck[:MOST_KEEPERS]})
    tried = [one for one in snapshot.server.status.rolled_back if one.set_digest == back.digest]
    found = _return(snapshot, members, back.release)
    if tried and found.stalled is None:
        told = Refusal(Reason.ROLLED_BACK, tried[-1].message or "the roll-out failed")
        return found.model_copy(update={"stalled": advice_on(told)})
    return found


def _return(snapshot: ServerSnapshot, members: tuple[Member, ...], release_name: str | None) -> ServerReturn:
    server = snapshot.server
    stalled = server_wide_refusal(server) or suspension(server)
    return ServerReturn(
        namespace=server.metadata.namespace,
        name=server.metadata.name,
        members=len(members),
        release_name=release_name,
        stalled=advice_on(stalled) if stalled is not None else None,
    )

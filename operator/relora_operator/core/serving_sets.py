"""The serving sets of a server: the one that is wanted, and the one to go back to."""

from collections.abc import Iterable
from functools import lru_cache

from pydantic import ValidationError

from relora_contract.api.server import AdapterServer
from relora_contract.artifacts import ArtifactRef
from relora_contract.serving import ServedAdapter, ServingSet
from relora_operator.core.lineage import Chain
from relora_operator.core.membership import Member
from relora_operator.core.observed import TargetView
from relora_operator.core.pairs import Pair, offer, promoted_pair, recognized, weights_ref


def live_set(target: TargetView | None) -> ServingSet | None:
    """Return the set in the target's annotation; None when there is none that can be read."""
    return _read(target.serving_set) if target is not None and target.serving_set is not None else None


@lru_cache(maxsize=128)
def _read(annotation: str) -> ServingSet | None:
    """Parse a set; every member of a server asks for the same one, most of them at about the same time."""
    try:
        return ServingSet.model_validate_json(annotation)
    except ValidationError:
        return None


def base_of(release_name: str, chain: Chain, live: ServingSet | None, members: Iterable[Member]) -> ArtifactRef | None:
    """Return the base of a release; of one that was deleted, what the live set or a member remembers."""
    release = chain.known.get(release_name)
    if release is not None:
        return weights_ref(release)
    if live is not None and live.release == release_name:
        return live.base
    statuses = [member.binding.status for member in members]
    remembered = (pair for status in statuses for pair in (status.current, *status.history))
    return next((pair.base for pair in remembered if pair is not None and pair.release_name == release_name), None)


def wanted_set(
    release_name: str, chain: Chain, live: ServingSet | None, members: tuple[Member, ...]
) -> ServingSet | None:
    """Return the set of everything that members offer on a release; None when that is nothing."""
    base = base_of(release_name, chain, live, members)
    if base is None:
        return None
    offers = [(member, offer(member.binding, release_name, chain)) for member in members]
    adapters = [
        _served(member, pair.adapter) for member, pair in offers if pair is not None and pair.base.digest == base.digest
    ]
    return ServingSet.of(release_name, base, adapters) if adapters else None


def previous_set(server: AdapterServer, chain: Chain, members: tuple[Member, ...]) -> ServingSet | None:
    """Return the promoted set, made again from the pairs that its members have in use; members that left stay out."""
    current = server.status.current
    if current is None:
        return None
    pairs = [(member, promoted_pair(member.binding, chain)) for member in members]
    in_use = [(member, pair) for member, pair in pairs if pair is not None and pair.release == current.release_name]
    base = next((pair.base for _, pair in in_use), None)
    if base is None:
        return None
    adapters = [_served(member, pair.adapter) for member, pair in in_use if pair.base.digest == base.digest]
    return ServingSet.of(current.release_name, base, adapters)


def _served(member: Member, adapter: ArtifactRef) -> ServedAdapter:
    return ServedAdapter(name=member.served_name, uri=adapter.uri, digest=adapter.digest)


def drops_nobody(wanted: ServingSet, live: ServingSet | None, members: Iterable[Member]) -> bool:
    """Tell whether a set on the present base still holds every member that is served; none is ever dropped."""
    served = {adapter.name for adapter in live.adapters} if live is not None else set()
    kept = {adapter.name for adapter in wanted.adapters}
    return all(member.served_name not in served or member.served_name in kept for member in members)


def settled(live: ServingSet, members: Iterable[Member]) -> bool:
    """Tell whether every member has recorded what the promoted set serves for it.

    Only then can the set be made again from the members, should a later roll-out fail.
    """
    by_name = {adapter.name: adapter for adapter in live.adapters}
    for member in members:
        adapter = by_name.get(member.served_name)
        if adapter is None:
            continue
        current = member.binding.status.current
        if current is not None and (current.release_name, current.adapter.digest) == (live.release, adapter.digest):
            continue
        if recognized(member.binding, Pair(release=live.release, base=live.base, adapter=adapter)) is not None:
            return False
    return True

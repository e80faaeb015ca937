"""What a binding sees of its server: its seat, the pair that is promoted under its name, and what is on the way."""

from dataclasses import dataclass, field

from relora_contract.api.binding import AdapterBinding, ServerRef
from relora_contract.api.server import AdapterServer, ServerConditionType
from relora_contract.artifacts import ArtifactRef
from relora_contract.serving import Engine, ServingSet
from relora_operator.core.conditions import find, holds, reason_of
from relora_operator.core.fallback import live_beside, may_stay, second
from relora_operator.core.lineage import Refusal
from relora_operator.core.membership import Member, binding_key, membership, served_name
from relora_operator.core.observed import TargetView
from relora_operator.core.pairs import Pair
from relora_operator.core.reasons import Reason
from relora_operator.core.serving_sets import live_set
from relora_operator.core.snapshot import ServerContext

SERVER_WIDE = (
    Reason.TARGET_NOT_FOUND,
    Reason.CONSENT_MISSING,
    Reason.TARGET_CONTROLLED,
    Reason.TARGET_CONFLICT,
    Reason.FIELD_CONFLICT,
    Reason.RELEASE_NOT_FOUND,
)
"""Reasons of a stalled server that keep every binding of it from being served."""
FALLBACK_FIELD = "spec.upgrade.fallbackTargetRef"


def target_refusal(server: AdapterServer, target: TargetView | None, field: str = "spec.targetRef") -> Refusal | None:
    """Return why the target, which `field` names, cannot be written to."""
    name = server.spec.target_ref.name
    if target is None:
        return Refusal(Reason.TARGET_NOT_FOUND, f"Deployment {name} ({field}) does not exist")
    if target.consent != server.metadata.name:
        return Refusal(
            Reason.CONSENT_MISSING,
            f"Deployment {name} does not carry the label relora.dev/adapter-server: {server.metadata.name}",
        )
    if target.controlled:
        return Refusal(Reason.TARGET_CONTROLLED, f"Deployment {name} has a controller owner")
    return None


def suspension(server: AdapterServer) -> Refusal | None:
    """Return why the server begins no roll-out, when its owner wants none."""
    if not server.spec.suspend:
        return None
    return Refusal(Reason.SUSPENDED, f"AdapterServer {server.metadata.name} is suspended (spec.suspend)")


def promoted_digest(server: AdapterServer) -> str | None:
    """Return the digest of the set that was seen completely rolled out, unless it is being put back just now."""
    current = server.status.current
    return None if current is None or _restoring(server) else current.set_digest


def _restoring(server: AdapterServer) -> bool:
    """Tell whether the current set is being put back on a target that lost it."""
    current, candidate = server.status.current, server.status.candidate
    return current is not None and candidate is not None and candidate.set_digest == current.set_digest


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A binding's place on its server."""

    server_ref: ServerRef
    refusal: Refusal | None = None
    promoted: Pair | None = None
    """What the promoted set serves under the binding's name."""
    arriving: Pair | None = None
    """What the set under way serves under the binding's name, while the promoted one still serves."""
    promoted_release: str | None = None
    rolled_back: dict[str, Refusal] = field(default_factory=dict)
    """Why roll-outs were taken back, by their releases: nothing more of those is tried."""
    suspended: Refusal | None = None
    """Why the server begins no roll-out."""
    labels: dict[str, str] = field(default_factory=dict)
    """Those of the server."""
    members: tuple[Member, ...] = ()
    engine: Engine | None = None
    may_stay: frozenset[str] = frozenset()
    """Served names without which the server moves to a newer release, once their time is over."""
    outage: Refusal | None = None
    """Why the fallback target cannot serve the binding, which stayed behind."""
    max_lora_rank: int = 64


@dataclass(frozen=True, kw_only=True)
class _Sight:
    """What one target has under the binding's name."""

    promoted: Pair | None = None
    arriving: Pair | None = None


def seat(binding: AdapterBinding, context: ServerContext | None) -> Seat | None:
    """Return the binding's seat; None when it names no server."""
    ref = binding.spec.server_ref
    if ref is None:
        return None
    whole = ServerRef(name=ref.name, namespace=ref.namespace or binding.metadata.namespace)
    if context is None or context.server.metadata.deletion_timestamp is not None:
        return Seat(
            server_ref=whole,
            refusal=Refusal(
                Reason.SERVER_NOT_FOUND, f"AdapterServer {whole.namespace}/{whole.name} (spec.serverRef) does not exist"
            ),
        )
    server, live = context.server, live_set(context.target)
    beside = live_beside(server, context.fallback)
    name = served_name(binding, server.metadata.namespace)
    admitted = membership(server, live, context.members, context.namespaces, beside)
    stalled = server_wide_refusal(server)
    if stalled is None or stalled.reason is not Reason.TARGET_CONFLICT:
        stalled = target_refusal(server, context.target) or stalled
    current, record = server.status.current, server.status.fallback
    here = _sight(server, live, name)
    there = _sight(second(server, record), beside, name) if record is not None else _Sight()
    return Seat(
        server_ref=whole,
        refusal=admitted.refused.get(binding_key(binding)) or stalled,
        promoted=here.promoted or there.promoted,
        arriving=here.arriving or there.arriving,
        promoted_release=current.release_name if current else None,
        rolled_back={
            failed.release_name: Refusal(Reason.ROLLED_BACK, failed.message or "the roll-out failed")
            for failed in server.status.rolled_back
        },
        suspended=suspension(server),
        labels=server.metadata.labels,
        members=admitted.members,
        engine=server.spec.effective_engine,
        may_stay=_may_stay(server, admitted.members),
        outage=_outage(server, context.fallback, name),
        max_lora_rank=server.spec.effective_max_lora_rank,
    )


def server_wide_refusal(server: AdapterServer) -> Refusal | None:
    """Return why no binding of the server can be served, as its condition Stalled tells it."""
    conditions = server.status.conditions
    reason = reason_of(conditions, ServerConditionType.STALLED)
    if not holds(conditions, ServerConditionType.STALLED) or reason not in SERVER_WIDE:
        return None
    condition = find(conditions, ServerConditionType.STALLED)
    return Refusal(reason, f"AdapterServer {server.metadata.name}: {condition.message if condition else ''}")


def _sight(server: AdapterServer, live: ServingSet | None, name: str) -> _Sight:
    candidate = server.status.candidate
    if live is None:
        return _Sight()
    if promoted_digest(server) == live.digest:
        return _Sight(promoted=_served(live, name))
    if candidate is not None and live.digest == candidate.set_digest and not _restoring(server):
        return _Sight(arriving=_served(live, name))
    return _Sight()


def _may_stay(server: AdapterServer, members: tuple[Member, ...]) -> frozenset[str]:
    stalled = reason_of(server.status.conditions, ServerConditionType.STALLED)
    if not server.spec.effective_upgrade.splits or stalled is Reason.FALLBACK_UNAVAILABLE:
        return frozenset()
    return may_stay(server, frozenset(member.served_name for member in members))


def _outage(server: AdapterServer, target: TargetView | None, name: str) -> Refusal | None:
    record = server.status.fallback
    if record is None or name not in record.served_names:
        return None
    refusal = target_refusal(second(server, record), target, FALLBACK_FIELD)
    return Refusal(Reason.FALLBACK_UNAVAILABLE, refusal.message) if refusal is not None else None


def _served(live: ServingSet, name: str) -> Pair | None:
    for adapter in live.adapters:
        if adapter.name == name:
            return Pair(
                release=live.release,
                base=live.base,
                adapter=ArtifactRef(uri=adapter.uri, digest=adapter.digest),
            )
    return None

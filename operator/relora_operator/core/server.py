"""What is to be done for one server."""

from dataclasses import replace
from datetime import datetime

from relora_contract.api.server import AdapterServer, AdapterServerStatus, Blocker, ServerConditionType
from relora_contract.serving import ServingSet
from relora_operator.core.actions import Action, ApplyServingSet, Key, Plan, WriteStatus
from relora_operator.core.brakes import brake
from relora_operator.core.conditions import merged, transitions
from relora_operator.core.lineage import Chain, Refusal, chain
from relora_operator.core.membership import Member, membership
from relora_operator.core.reasons import Reason
from relora_operator.core.rollout import Rollout, recorded
from relora_operator.core.server_conditions import Report, conditions
from relora_operator.core.server_plan import (
    Situation,
    advanced,
    blocks_of,
    newer_releases,
    served_release,
    set_to_return_to,
)
from relora_operator.core.serving import live_set, suspension, target_refusal
from relora_operator.core.serving_sets import wanted_set
from relora_operator.core.snapshot import ServerSnapshot

FOLLOWED = (ServerConditionType.READY, ServerConditionType.UP_TO_DATE)
MOST_BLOCKERS = 10


def decide_server(snapshot: ServerSnapshot, now: datetime) -> Plan:
    """Return what is to be done for the server. One that is being deleted leaves its target as it is."""
    server, target = snapshot.server, snapshot.target
    if server.metadata.deletion_timestamp is not None:
        return Plan()
    order = chain(server.spec.model, snapshot.family)
    live = live_set(target)
    members = membership(server, live, snapshot.members, snapshot.namespaces).members
    refusal = _conflict(snapshot) or target_refusal(server, target) or _release_missing(server, order)
    rollout = recorded(server)
    if refusal is None and target is not None:
        situation = Situation(snapshot=snapshot, target=target, chain=order, live=live, members=members, now=now)
        rollout = advanced(situation, rollout)
    status = _status(snapshot, order, members, refusal=refusal, rollout=rollout, now=now)
    return _plan(snapshot, rollout, status, now)


def _conflict(snapshot: ServerSnapshot) -> Refusal | None:
    """Of several servers with one target the one that the label names has it; without a label, the oldest would."""
    rivals = [rival for rival in snapshot.rivals if rival.metadata.deletion_timestamp is None]
    everyone = sorted([snapshot.server, *rivals], key=lambda one: (one.metadata.creation_timestamp, one.metadata.name))
    consent = snapshot.target.consent if snapshot.target is not None else None
    holder = next((one for one in everyone if one.metadata.name == consent), everyone[0])
    if holder.metadata.name == snapshot.server.metadata.name:
        return None
    name = snapshot.server.spec.target_ref.name
    return Refusal(
        Reason.TARGET_CONFLICT,
        f"Deployment {name} (spec.targetRef) is the target of AdapterServer {holder.metadata.name}",
    )


def _release_missing(server: AdapterServer, order: Chain) -> Refusal | None:
    name = server.spec.initial_release_name
    if server.status.current is not None or name in order.known:
        return None
    return Refusal(
        Reason.RELEASE_NOT_FOUND, f"spec.initialReleaseName: the model {server.spec.model} has no release {name}"
    )


def _withdrawal(snapshot: ServerSnapshot, order: Chain, back: ServingSet | None) -> Refusal | None:
    """Explain a server that is on a withdrawn release."""
    served = served_release(snapshot)
    if snapshot.server.status.current is None or not order.withdrawn(served):
        return None
    if back is not None:
        return Refusal(
            Reason.RELEASE_WITHDRAWN, f"release {served} is withdrawn; the server goes back to {back.release}"
        )
    return Refusal(
        Reason.RELEASE_WITHDRAWN,
        f"release {served} is withdrawn, and there is no earlier one for which all members that are served have a pair",
    )


def _plan(snapshot: ServerSnapshot, rollout: Rollout, status: AdapterServerStatus, now: datetime) -> Plan:
    server, before = snapshot.server, snapshot.server.status
    key = Key("AdapterServer", server.metadata.namespace, server.metadata.name)
    actions: list[Action] = []
    changed = status != before
    if changed:
        actions.append(WriteStatus(key=key, resource_version=server.metadata.resource_version, status=status))
    if rollout.apply is not None and snapshot.target is not None:
        target = snapshot.target
        actions.append(
            ApplyServingSet(
                namespace=target.namespace,
                name=target.name,
                resource_version=target.resource_version,
                serving_set=rollout.apply.to_annotation(),
                digest=rollout.apply.digest,
            )
        )
    if changed:
        actions.extend(transitions(key, before.conditions, status.conditions, FOLLOWED))
    look = rollout.look_again_at
    return Plan(
        actions=tuple(actions),
        requeue_after_seconds=max(1.0, (look - now).total_seconds()) if look is not None else None,
    )


def _status(
    snapshot: ServerSnapshot,
    order: Chain,
    members: tuple[Member, ...],
    *,
    refusal: Refusal | None,
    rollout: Rollout,
    now: datetime,
) -> AdapterServerStatus:
    server, live = snapshot.server, live_set(snapshot.target)
    after = server.model_copy(update={"status": server.status.model_copy(update={"current": rollout.current})})
    view = replace(snapshot, server=after)
    newer = newer_releases(view, order, members)
    blocks = blocks_of(view, order, members, newer[0]) if newer else ()
    back = set_to_return_to(view, order, live, members)
    wanted = back or wanted_set(served_release(view), order, live, members)
    report = Report(
        rollout=rollout,
        refusal=refusal,
        suspended=suspension(server),
        withdrawn=_withdrawal(view, order, back),
        live_digest=live.digest if live is not None else None,
        wanted_digest=wanted.digest if wanted is not None else None,
        members=len(members),
        held=brake(newer[0], server.metadata.labels) if newer else None,
        newest=newer[0].metadata.name if newer else None,
        blocks=blocks,
    )
    return AdapterServerStatus(
        observed_generation=server.metadata.generation,
        conditions=merged(server.status.conditions, conditions(report), server.metadata.generation, now),
        current=rollout.current,
        previous=rollout.previous,
        candidate=rollout.candidate,
        rolled_back=list(rollout.rolled_back),
        reverts=list(rollout.reverts),
        blockers=[
            Blocker(namespace=block.binding.metadata.namespace, name=block.binding.metadata.name, reason=block.reason)
            for block in blocks[:MOST_BLOCKERS]
        ],
    )

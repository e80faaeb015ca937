"""What is to be done for one server."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer, AdapterServerStatus, Blocker, ServerConditionType
from relora_contract.serving import ServingSet
from relora_operator.core.actions import Action, ApplyServingSet, Key, Plan, WriteStatus
from relora_operator.core.blockers import Block
from relora_operator.core.brakes import brake
from relora_operator.core.conditions import merged, transitions
from relora_operator.core.fallback import fallback_target_name, live_beside
from relora_operator.core.lineage import Chain, Refusal, chain
from relora_operator.core.membership import membership
from relora_operator.core.observed import TargetView
from relora_operator.core.reasons import Reason
from relora_operator.core.rollout import Rollout, recorded
from relora_operator.core.server_conditions import Report, conditions
from relora_operator.core.server_plan import (
    Position,
    Situation,
    advanced,
    blocks_of,
    newer_releases,
    served_release,
    set_to_return_to,
)
from relora_operator.core.serving import suspension, target_refusal
from relora_operator.core.serving_sets import live_set, wanted_set
from relora_operator.core.snapshot import ServerSnapshot
from relora_operator.core.split import Fallback, next_release, overdue_at, stood_by

FOLLOWED = (ServerConditionType.READY, ServerConditionType.UP_TO_DATE)
MOST_BLOCKERS = 10
UNWATCHED = timedelta(seconds=60)
"""Between two looks at a workload that no watch shows."""


def decide_server(snapshot: ServerSnapshot, now: datetime) -> Plan:
    """Return what is to be done for the server. One that is being deleted leaves its target as it is."""
    server, target = snapshot.server, snapshot.target
    if server.metadata.deletion_timestamp is not None:
        return Plan()
    order = chain(server.spec.model, snapshot.family)
    live, beside = live_set(target), live_beside(server, snapshot.fallback)
    members = membership(server, live, snapshot.members, snapshot.namespaces, beside).members
    refusal = _conflict(snapshot) or target_refusal(server, target) or _release_missing(server, order)
    rollout = recorded(server)
    position = Position(snapshot=snapshot, chain=order, live=live, members=members, now=now)
    fallback = stood_by(position, rollout, writable=refusal is None)
    if refusal is None and target is not None:
        situation = Situation(
            snapshot=snapshot,
            target=target,
            chain=order,
            live=live,
            members=members,
            now=now,
            waits=fallback.under_way,
            split_to=fallback.split_to,
        )
        rollout = advanced(situation, rollout)
    status = _status(position, fallback, refusal=refusal, rollout=rollout)
    return _plan(snapshot, rollout, fallback, status, now)


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


def _plan(
    snapshot: ServerSnapshot, rollout: Rollout, fallback: Fallback, status: AdapterServerStatus, now: datetime
) -> Plan:
    server, before = snapshot.server, snapshot.server.status
    key = Key("AdapterServer", server.metadata.namespace, server.metadata.name)
    actions: list[Action] = []
    changed = status != before
    if changed:
        actions.append(WriteStatus(key=key, resource_version=server.metadata.resource_version, status=status))
    actions.extend(_applied(rollout, snapshot.target))
    actions.extend(_applied(fallback.rollout, snapshot.fallback))
    if changed:
        actions.extend(transitions(key, before.conditions, status.conditions, FOLLOWED))
    deadline = overdue_at(server, status.next) if status.blockers else None
    times = [
        rollout.look_again_at,
        fallback.rollout.look_again_at,
        *([deadline] if deadline and deadline > now else []),
        *([now + UNWATCHED] if _is_unwatched(snapshot) else []),
    ]
    seconds = [max(1.0, (time - now).total_seconds()) for time in times if time is not None]
    return Plan(actions=tuple(actions), requeue_after_seconds=min(seconds, default=None))


def _is_unwatched(snapshot: ServerSnapshot) -> bool:
    """Tell whether a workload is missing, or lacks the label by which the watches choose: no event will tell of it."""
    named = [snapshot.target, *([snapshot.fallback] if fallback_target_name(snapshot.server) is not None else [])]
    return any(target is None or target.consent is None for target in named)


def _applied(rollout: Rollout, target: TargetView | None) -> Iterator[ApplyServingSet]:
    if rollout.apply is not None and target is not None:
        yield ApplyServingSet(
            namespace=target.namespace,
            name=target.name,
            resource_version=target.resource_version,
            serving_set=rollout.apply.to_annotation(),
            digest=rollout.apply.digest,
        )


def _status(
    position: Position, fallback: Fallback, *, refusal: Refusal | None, rollout: Rollout
) -> AdapterServerStatus:
    snapshot, order, live, members = position.snapshot, position.chain, position.live, position.members
    server, now, beside = snapshot.server, position.now, live_set(snapshot.fallback)
    after = server.model_copy(update={"status": server.status.model_copy(update={"current": rollout.current})})
    view = replace(snapshot, server=after)
    newest = next(iter(newer_releases(view, order, members)), None)
    held = brake(newest, server.metadata.labels) if newest is not None else None
    following = next_release(server, newest, held, now)
    deadline = overdue_at(server, following)
    blocks = _blocks(replace(position, snapshot=view), newest, fallback)
    back = set_to_return_to(view, order, live, members)
    wanted = back or wanted_set(served_release(view), order, live, members)
    report = Report(
        rollout=rollout,
        fallback=fallback,
        refusal=refusal,
        suspended=suspension(server),
        withdrawn=_withdrawal(view, order, back),
        live_digest=position.live_digest,
        beside_digest=beside.digest if beside is not None else None,
        wanted_digest=wanted.digest if wanted is not None else None,
        members=len(members),
        held=held,
        newest=newest.metadata.name if newest is not None else None,
        overdue=deadline is not None and now >= deadline,
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
        next=following,
        fallback=fallback.record,
        blockers=[
            Blocker(namespace=block.binding.metadata.namespace, name=block.binding.metadata.name, reason=block.reason)
            for block in blocks[:MOST_BLOCKERS]
        ],
    )


def _blocks(position: Position, newest: BaseModelRelease | None, fallback: Fallback) -> tuple[Block, ...]:
    """Return the members that keep the server from the newest release, or that did not follow it there."""
    members = position.members
    if newest is None and fallback.record is not None and fallback.left:
        newest = position.chain.known.get(served_release(position.snapshot))
        members = tuple(member for member in members if member.served_name in fallback.record.served_names)
    return blocks_of(position.snapshot, position.chain, members, newest) if newest is not None else ()

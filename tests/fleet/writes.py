"""Carrying actions out in the world, with the preconditions of the real thing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fleet.invariants import ready_is_true_only_when_served
from fleet.jobs import job_from
from relora_operator.core.actions import (
    Action,
    ApplyServingSet,
    CreateJob,
    DeleteJob,
    EmitEvent,
    GrantSlots,
    SetJobTtl,
    WriteStatus,
)
from relora_operator.core.refusals import JobRefusal
from relora_operator.loop.refusals import PAUSE_SECONDS

if TYPE_CHECKING:
    from fleet.world import World


def execute(world: World, action: Action) -> bool:
    """Carry an action out; False when its precondition does not hold. Writes to the cluster are kept in a list."""
    match action:
        case GrantSlots():
            world.grants[action.release] = action.bindings
            return True
        case EmitEvent():
            world.events.append(action)
            return True
        case CreateJob() if action.namespace in world.refusing:
            status, answer = world.refusing[action.namespace]
            again_at = world.now + timedelta(seconds=PAUSE_SECONDS)
            world.refusals[action.owner, action.name] = JobRefusal(status=status, answer=answer, again_at=again_at)
            return True
        case _:
            done = _write(world, action)
            if done:
                world.writes.append(action)
            return done


def _write(world: World, action: WriteStatus | CreateJob | DeleteJob | SetJobTtl | ApplyServingSet) -> bool:
    match action:
        case WriteStatus():
            return _write_status(world, action)
        case CreateJob():
            return _create(world, action)
        case ApplyServingSet():
            target = (action.namespace, action.name)
            done = not world.denies_sets and _apply(world, action)
            world.unapplied.pop(target, None)
            if not done:
                world.unapplied[target] = action.digest
            return done
    job = world.jobs.get((action.namespace, action.name))
    if job is None or job.view.uid != action.uid:
        return False
    change: dict[str, Any] = {"deleting": True} if isinstance(action, DeleteJob) else {"has_ttl": True}
    job.view = replace(job.view, resource_version=world.next_version(), **change)
    return True


def _write_status(world: World, action: WriteStatus) -> bool:
    known = world.get(action.key)
    if known is None or known.metadata.resource_version != action.resource_version:
        return False
    read_back = type(action.status).model_validate(action.status.to_json())
    assert read_back == action.status, "the status is not what its schema allows"
    world.put(known.model_copy(update={"status": read_back}))
    if action.key.kind == "AdapterBinding":
        ready_is_true_only_when_served(world, world.bindings[action.key])
    return True


def _create(world: World, action: CreateJob) -> bool:
    world.refusals.pop((action.owner, action.name), None)
    created = job_from(action.manifest, f"job-{world.next_version()}", world.next_version(), world.now)
    existing = world.jobs.get((action.namespace, action.name))
    if existing is not None:
        return existing.view.owner_uid == created.view.owner_uid
    world.jobs[action.namespace, action.name] = created
    return True


def _apply(world: World, action: ApplyServingSet) -> bool:
    target = world.targets.get((action.namespace, action.name))
    if target is None or target.view.resource_version != action.resource_version:
        return False
    target.view = replace(
        target.view,
        resource_version=world.next_version(),
        generation=target.view.generation + 1,
        serving_set=action.serving_set,
        serving_set_digest=action.digest,
        updated_replicas=0,
        failing=None,
        unschedulable=None,
    )
    return True

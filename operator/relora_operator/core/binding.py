"""What is to be done for one binding."""

from collections.abc import Iterator
from datetime import datetime

from relora_contract.api.binding import AdapterBinding, AdapterBindingStatus, BindingConditionType, CurrentPair
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.actions import Action, CreateJob, Plan, WriteStatus
from relora_operator.core.binding_conditions import Outlook, conditions
from relora_operator.core.brakes import brake_of
from relora_operator.core.candidate import gave_way, jobs_of_candidate, promoted, remembered
from relora_operator.core.choice import choose, unapproved_release, upgrade_target
from relora_operator.core.cleanup import ends, expiries, settlement
from relora_operator.core.conditions import merged, transitions
from relora_operator.core.lineage import Chain, chain
from relora_operator.core.membership import binding_key
from relora_operator.core.next_job import Next, next_job
from relora_operator.core.obstacles import Obstacle
from relora_operator.core.pairs import Pair, baseline, offer, recognized
from relora_operator.core.progress import follow, profile_of
from relora_operator.core.reasons import Reason
from relora_operator.core.serving import Seat, seat
from relora_operator.core.snapshot import BindingSnapshot
from relora_operator.core.work import ReadaptationWork, image_digest

FOLLOWED = (BindingConditionType.READY, BindingConditionType.UP_TO_DATE)


def decide_binding(snapshot: BindingSnapshot, now: datetime) -> Plan:
    """Return what is to be done for the binding. One that is being deleted takes its Jobs with it by ownership."""
    if snapshot.binding.metadata.deletion_timestamp is not None or snapshot.namespace.terminating:
        return Plan()
    order = chain(snapshot.binding.spec.model, snapshot.family)
    place = seat(snapshot.binding, snapshot.server)
    progress = follow(snapshot.binding, snapshot, order, now)
    binding = _with(snapshot.binding, candidate=progress.candidate)
    in_use = _in_use(snapshot, binding, order, place, now)
    binding = _with(binding, current=in_use, history=remembered(binding, in_use, order))
    start = baseline(binding, order)
    target = upgrade_target(snapshot, binding, start, order)
    work = _work(snapshot, binding, start, target, order)
    chosen = choose(
        snapshot,
        binding,
        start=start,
        target=target,
        work=work,
        chain=order,
        place=place,
        job_present=progress.job is not None,
    )
    if chosen != progress.candidate:
        if chosen is None or progress.candidate is None or chosen.request_digest != progress.candidate.request_digest:
            binding = _with(binding, superseded=gave_way(binding, order))
        binding = _with(binding, candidate=chosen)
        progress = follow(binding, snapshot, order, now)
    profile = profile_of(target.metadata.name, order, snapshot) if target is not None else None
    following = next_job(snapshot, progress, work, profile=profile, place=place, now=now)
    binding = _with(binding, candidate=following.candidate)
    outlook = Outlook(
        binding=binding,
        start=start,
        target=target,
        unapproved=unapproved_release(snapshot, binding, start, order),
        place=place,
        waiting=following.waiting or _missing_profile(target, work),
        chain=order,
        namespaces=snapshot.server.namespaces if snapshot.server is not None else {},
        profiles=snapshot.profiles,
    )
    return _plan(snapshot, outlook, following, now)


def _with(binding: AdapterBinding, **fields: object) -> AdapterBinding:
    return binding.model_copy(update={"status": binding.status.model_copy(update=fields)})


def _in_use(
    snapshot: BindingSnapshot, binding: AdapterBinding, order: Chain, place: Seat | None, now: datetime
) -> CurrentPair | None:
    """Return the pair in use: what the server's promoted set holds; without a server, the newest that may be used."""
    existing = binding.status.current
    if place is not None:
        served = recognized(binding, place.promoted) if place.promoted is not None else None
        return promoted(served, existing, order, server=place.server_ref, now=now) if served is not None else existing
    start = baseline(binding, order)
    target = upgrade_target(snapshot, binding, start, order)
    free = target is not None and brake_of(target, binding, place) is None
    best = offer(binding, target.metadata.name, order) if target is not None and free else None
    if best is None and start is not None:
        best = offer(binding, start.release, order) or start
    return promoted(best, existing, order, server=None, now=now) if best is not None else existing


def _work(
    snapshot: BindingSnapshot,
    binding: AdapterBinding,
    start: Pair | None,
    target: BaseModelRelease | None,
    order: Chain,
) -> ReadaptationWork | None:
    if start is None or target is None:
        return None
    profile = profile_of(target.metadata.name, order, snapshot)
    if profile is None:
        return None
    return ReadaptationWork(binding=binding, start=start, target=target, image=image_digest(profile))


def _missing_profile(target: BaseModelRelease | None, work: ReadaptationWork | None) -> Obstacle | None:
    if target is None or work is not None:
        return None
    name = target.spec.profile_ref.name
    return Obstacle(Reason.PROFILE_NOT_FOUND, f"release {target.metadata.name}: TrainerProfile {name} does not exist")


def _plan(snapshot: BindingSnapshot, outlook: Outlook, following: Next, now: datetime) -> Plan:
    before = snapshot.binding.status
    metadata = snapshot.binding.metadata
    status = outlook.binding.status.model_copy(
        update={
            "observed_generation": metadata.generation,
            "conditions": merged(before.conditions, conditions(outlook), metadata.generation, now),
        }
    )
    key = binding_key(snapshot.binding)
    actions: list[Action] = []
    if status != before:
        actions.append(WriteStatus(key=key, resource_version=metadata.resource_version, status=status))
    actions.extend(_job_actions(snapshot, status, following))
    if status != before:
        actions.extend(transitions(key, before.conditions, status.conditions, FOLLOWED))
    return Plan(actions=tuple(actions), requeue_after_seconds=_seconds_until(following.waiting, now))


def _job_actions(snapshot: BindingSnapshot, status: AdapterBindingStatus, following: Next) -> Iterator[Action]:
    """Yield the changes of Jobs; they follow the write of the status, which fails when the snapshot is not the newest.

    Only one Job of a binding may run: what is unneeded ends first, and while any is left no other is created.
    """
    candidate = status.candidate
    unneeded = snapshot.jobs
    if candidate is not None:
        mine = jobs_of_candidate(candidate, snapshot.jobs)
        unneeded = mine.others
        yield from settlement(mine, candidate, stored=snapshot.binding.status.candidate == candidate)
    yield from ends(unneeded)
    yield from expiries(unneeded)
    if following.create is not None:
        create = following.create
        yield CreateJob(
            owner=binding_key(snapshot.binding), namespace=create.namespace, name=create.name, manifest=create.manifest
        )


def _seconds_until(waiting: Obstacle | None, now: datetime) -> float | None:
    if waiting is None or waiting.until is None:
        return None
    return max(1.0, (waiting.until - now).total_seconds())

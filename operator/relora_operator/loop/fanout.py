"""Which keys a change concerns.

Too many would be slow: a release's counters change with every binding, and every binding reads its release. So a
change is passed on only when it touches what the other side reads. Too few would be wrong for as long as a resync.
"""

from collections.abc import Iterator

from relora_contract.api.binding import AdapterBinding, BindingConditionType
from relora_contract.api.meta import ObjectMeta
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease, ReleaseConditionType
from relora_contract.api.server import AdapterServer, ServerConditionType
from relora_operator.core.actions import Key, Kind
from relora_operator.core.conditions import holds, reason_of
from relora_operator.core.observed import NamespaceView, TargetView
from relora_operator.core.reasons import REGISTRY
from relora_operator.kube.parse_jobs import JobRecord, PodRecord
from relora_operator.kube.parse_targets import TargetRecord
from relora_operator.loop.cache import Change, ObjectId
from relora_operator.loop.state import State, owner_key, server_id, target_id

_READ_BY_OTHERS = (ReleaseConditionType.ACCEPTED, ReleaseConditionType.HALTED)

AnyChange = (
    Change[BaseModelRelease]
    | Change[AdapterBinding]
    | Change[AdapterServer]
    | Change[TrainerProfile]
    | Change[JobRecord]
    | Change[PodRecord]
    | Change[TargetRecord]
    | Change[NamespaceView]
)


def concerned(state: State, change: AnyChange) -> set[Key]:
    """Return the keys to reconcile after `change`, which `state` already contains."""
    return {
        key
        for value, other in ((change.old, change.new), (change.new, change.old))
        if value is not None
        for key in _keys(state, change.id, value, other)
    }


def is_only_status(change: AnyChange) -> bool:
    """Tell whether an object of ours is the same but for its status: that is what an own write looks like."""
    match change.old, change.new:
        case (
            (BaseModelRelease() | AdapterBinding() | AdapterServer()) as old,
            (BaseModelRelease() | AdapterBinding() | AdapterServer()) as new,
        ):
            return _wish(old.metadata) == _wish(new.metadata)
        case _:
            return False


def _wish(metadata: ObjectMeta) -> tuple[object, ...]:
    """Return what changes when somebody wants something else: the generation stands for the spec."""
    return metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.labels, metadata.annotations


def is_progress(change: AnyChange, kind: Kind) -> bool:
    """Tell whether an object of `kind` tells of the change in its status at most, and decides nothing by it.

    Of the five statuses that a binding has on its way to a release, three are of this sort for its server, which reads
    all of its bindings. So is what a server or a release itself tells of how far its bindings are, and for the members
    of a server that a roll-out has begun.
    """
    match kind, change.old, change.new:
        case "AdapterServer", AdapterBinding() as old, AdapterBinding() as new:
            return _read_by_the_server(old) == _read_by_the_server(new)
        case "AdapterServer", AdapterServer() as old, AdapterServer() as new:
            return _basis_of_server(old) == _basis_of_server(new)
        case "BaseModelRelease", BaseModelRelease() as old, BaseModelRelease() as new:
            return _basis_of_release(old) == _basis_of_release(new)
        case "AdapterBinding", AdapterServer() as old, AdapterServer() as new:
            return _ends_of_rollouts(old) == _ends_of_rollouts(new)
        case "AdapterBinding", TargetRecord(view=old_view), TargetRecord(view=new_view):
            return _access(old_view) == _access(new_view)
        case _:
            return False


def _basis_of_server(server: AdapterServer) -> tuple[object, ...]:
    """Return what a server's next decision rests on of itself."""
    told = {"observed_generation": 0, "conditions": [], "blockers": []}
    return *_wish(server.metadata), server.status.model_copy(update=told)


def _basis_of_release(release: BaseModelRelease) -> tuple[object, ...]:
    """Return what a release's next decision rests on of itself."""
    conditions = [one for one in release.status.conditions if one.type != ReleaseConditionType.COMPLETE]
    told = {"bindings": None, "failure_samples": [], "completion_time": None, "conditions": conditions}
    return *_wish(release.metadata), release.status.model_copy(update=told)


def _read_by_the_server(binding: AdapterBinding) -> tuple[object, ...]:
    metadata, status, candidate = binding.metadata, binding.status, binding.status.candidate
    outcome = (
        (candidate.release_name, candidate.base, candidate.adapter, candidate.reason, candidate.end_time)
        if candidate is not None
        else None
    )
    pairs = (status.current, status.superseded, status.history)
    return metadata.uid, metadata.deletion_timestamp, binding.spec, pairs, outcome


_Any = (
    BaseModelRelease
    | AdapterBinding
    | AdapterServer
    | TrainerProfile
    | JobRecord
    | PodRecord
    | TargetRecord
    | NamespaceView
)


def _keys(state: State, object_id: ObjectId, value: _Any, other: _Any | None) -> Iterator[Key]:
    match value, other:
        case BaseModelRelease(), BaseModelRelease() | None:
            yield from _of_release(state, value, other)
        case AdapterBinding(), AdapterBinding() | None:
            yield from _of_binding(state, value, other)
        case AdapterServer(), AdapterServer() | None:
            yield from _of_server(state, value, other)
        case TrainerProfile(), _:
            yield from _of_profile(state, object_id[1])
        case JobRecord(), _:
            yield from filter(None, (owner_key(value),))
        case PodRecord(), _:
            yield from filter(None, (owner_key(job) for job in state.jobs.find("uid", value.owner_uid)))
        case TargetRecord(), TargetRecord() | None:
            yield from _of_target(state, object_id, value.view, other.view if other else None)
        case NamespaceView(), _ if value != other:
            yield from _of_namespace(state, object_id[1])
        case _:
            return


def _of_profile(state: State, name: str) -> Iterator[Key]:
    for release in state.releases.find("profile", name):
        yield release_key(release)
        yield from _bindings_of_model(state, release.spec.model)


def _of_release(state: State, release: BaseModelRelease, other: BaseModelRelease | None) -> Iterator[Key]:
    yield release_key(release)
    if other is not None and _read_by_others(release) == _read_by_others(other):
        return
    model = release.spec.model
    for relative in (*state.releases.find("model", model), *state.releases.find("supersedes", release.metadata.name)):
        yield release_key(relative)
    for server in state.servers.find("model", model):
        yield server_key(server)
    yield from _bindings_of_model(state, model)


def _read_by_others(release: BaseModelRelease) -> tuple[object, ...]:
    """Return all but the counts and what they lead to: those change with every binding, and nobody reads them."""
    status = release.status
    conditions = tuple(holds(status.conditions, kind) for kind in _READ_BY_OTHERS)
    canaries_passed = status.canaries.passed_time if status.canaries is not None else None
    metadata = release.metadata
    return metadata.uid, metadata.deletion_timestamp, release.spec, conditions, status.deltas, canaries_passed


def _of_binding(state: State, binding: AdapterBinding, other: AdapterBinding | None) -> Iterator[Key]:
    yield binding_key(binding)
    for release in state.releases.find("model", binding.spec.model):
        yield release_key(release)
    server = server_id(binding)
    if server is None:
        return
    yield Key("AdapterServer", *server)
    if other is None or other.spec != binding.spec or _held_by(other) != _held_by(binding):
        for member in state.bindings.find("server", server):
            yield binding_key(member)


def _held_by(binding: AdapterBinding) -> str | None:
    """Return why a binding without a pair for its next release stays so: its neighbours tell that it blocks them."""
    conditions, candidate = binding.status.conditions, binding.status.candidate
    told = reason_of(conditions, BindingConditionType.UP_TO_DATE)
    if told is None or holds(conditions, BindingConditionType.UP_TO_DATE) or not REGISTRY[told].terminal:
        return None
    return None if candidate is not None and candidate.adapter is not None else told


def _of_server(state: State, server: AdapterServer, other: AdapterServer | None) -> Iterator[Key]:
    yield server_key(server)
    if other is None or _read_by_members(server) != _read_by_members(other):
        for member in state.bindings.find("server", (server.metadata.namespace, server.metadata.name)):
            yield binding_key(member)
    if other is None or other.metadata.labels != server.metadata.labels:
        for release in state.releases.find("model", server.spec.model):
            yield release_key(release)
    if other is None or other.spec != server.spec:
        for rival in state.servers.find("target", target_id(server)):
            yield server_key(rival)


def _read_by_members(server: AdapterServer) -> tuple[object, ...]:
    """Return all but the blockers and the other conditions, which change whenever a member does."""
    return *_ends_of_rollouts(server), server.status.candidate


def _ends_of_rollouts(server: AdapterServer) -> tuple[object, ...]:
    metadata, status = server.metadata, server.status
    stalled = next((found for found in status.conditions if found.type == ServerConditionType.STALLED), None)
    sets = (status.current, status.previous, status.rolled_back, status.fallback)
    return metadata.uid, metadata.deletion_timestamp, metadata.labels, server.spec, sets, stalled


def _of_target(state: State, target: ObjectId, view: TargetView, other: TargetView | None) -> Iterator[Key]:
    servers = {target_id(server): server for server in state.servers.find("target", target)}
    consented = state.servers.get(view.namespace, view.consent) if view.consent else None
    for server in filter(None, (*servers.values(), consented)):
        yield server_key(server)
        if other is None or _seen_by_members(view) != _seen_by_members(other):
            for member in state.bindings.find("server", (server.metadata.namespace, server.metadata.name)):
                yield binding_key(member)


def _seen_by_members(target: TargetView) -> tuple[object, ...]:
    return *_access(target), target.serving_set


def _access(target: TargetView) -> tuple[object, ...]:
    return target.uid, target.consent, target.controlled


def _of_namespace(state: State, name: str) -> Iterator[Key]:
    for binding in state.bindings.find("namespace", name):
        yield binding_key(binding)
        if server := server_id(binding):
            yield Key("AdapterServer", *server)
        for release in state.releases.find("model", binding.spec.model):
            yield release_key(release)


def _bindings_of_model(state: State, model: str) -> Iterator[Key]:
    for binding in state.bindings.find("model", model):
        yield binding_key(binding)


def release_key(release: BaseModelRelease) -> Key:
    """Return the key of a release."""
    return Key("BaseModelRelease", "", release.metadata.name)


def binding_key(binding: AdapterBinding) -> Key:
    """Return the key of a binding."""
    return Key("AdapterBinding", binding.metadata.namespace, binding.metadata.name)


def server_key(server: AdapterServer) -> Key:
    """Return the key of a server."""
    return Key("AdapterServer", server.metadata.namespace, server.metadata.name)

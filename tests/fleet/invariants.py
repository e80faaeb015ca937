"""What must hold in the world after every single write."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from relora_contract.serving import ServingSet
from relora_operator.core.membership import served_name, server_key
from relora_operator.core.reasons import REGISTRY, Reason

if TYPE_CHECKING:
    from fleet.world import World
    from relora_contract.api.binding import AdapterBinding
    from relora_contract.api.meta import Condition
    from relora_contract.api.server import AdapterServer, ServedSet


def check(world: World) -> None:
    one_live_job_per_binding(world)
    sets_hold_only_what_passed_or_is_pinned(world)
    reasons_are_documented_where_they_appear(world)


def one_live_job_per_binding(world: World) -> None:
    live = Counter(job.view.owner_uid for job in world.jobs.values() if job.view.kind != "delta" and job.view.live)
    crowded = {owner: count for owner, count in live.items() if count > 1 and str(owner).startswith("binding-")}
    assert not crowded, f"more than one live Job: {crowded}"


def sets_hold_only_what_passed_or_is_pinned(world: World) -> None:
    for binding in world.bindings.values():
        source = binding.spec.source
        world.pinned.add((source.release_name, source.digest))
    for target in world.targets.values():
        if target.view.serving_set is None:
            continue
        wanted = ServingSet.model_validate_json(target.view.serving_set)
        for adapter in wanted.adapters:
            passed = (wanted.base.digest, adapter.digest) in world.passed
            assert passed or (wanted.release, adapter.digest) in world.pinned, adapter


def ready_is_true_only_when_served(world: World, binding: AdapterBinding) -> None:
    """To be asked when the binding's status is written: it must be true then."""
    key, current = server_key(binding), binding.status.current
    if world.condition(binding, "Ready") != "True/Promoted" or key is None:
        return
    assert current is not None
    server = world.servers[key]
    name = served_name(binding, key.namespace)
    sets = [target.serving for target in world.serving(server) if target.serving is not None]
    pairs = {
        each.digest: (each.release, adapter.digest)
        for each in sets
        for adapter in each.adapters
        if adapter.name == name
    }
    assert pairs, f"{name} is not served"
    promoted = [record.set_digest for record in (server.status.current, _beside(server)) if record is not None]
    if set(pairs) <= set(promoted):
        assert (current.release_name, current.adapter.digest) in pairs.values()


def _beside(server: AdapterServer) -> ServedSet | None:
    return server.status.fallback.current if server.status.fallback is not None else None


def reasons_are_documented_where_they_appear(world: World) -> None:
    for release in world.releases.values():
        _documented("BaseModelRelease", release.status.conditions)
    for binding in world.bindings.values():
        _documented("AdapterBinding", binding.status.conditions)
    for server in world.servers.values():
        _documented("AdapterServer", server.status.conditions)


def _documented(kind: str, conditions: list[Condition]) -> None:
    """Reconciling and Stalled repeat a reason; until a binding is ready, its other conditions repeat UpToDate's."""
    reasons = {condition.type: condition.reason for condition in conditions}
    for type_, reason in reasons.items():
        repeats = type_ in {"Reconciling", "Stalled"} or (type_ != "UpToDate" and reason == reasons.get("UpToDate"))
        assert repeats or f"{kind}.{type_}" in REGISTRY[Reason(reason)].conditions, f"{kind}.{type_}: {reason}"

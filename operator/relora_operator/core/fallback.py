"""The fallback target as a server of its own: it stays on its base, with the members that stayed behind."""

from relora_contract.api.server import AdapterServer, AdapterServerStatus, FallbackSet, TargetRef
from relora_contract.serving import ServingSet
from relora_operator.core.observed import TargetView
from relora_operator.core.serving_sets import live_set


def fallback_target_name(server: AdapterServer) -> str | None:
    """Return the workload for members that stay behind: the one that has some, else the one that is to have them."""
    if server.status.fallback is not None:
        return server.status.fallback.target_name
    upgrade = server.spec.effective_upgrade
    return upgrade.fallback_target_ref.name if upgrade.splits and upgrade.fallback_target_ref is not None else None


def live_beside(server: AdapterServer, target: TargetView | None) -> ServingSet | None:
    """Return the set in the annotation of the fallback target, while it serves members."""
    return live_set(target) if server.status.fallback is not None else None


def second(server: AdapterServer, record: FallbackSet) -> AdapterServer:
    """Return the fallback as a server of its own; its set changes without delay, for the main target waits for it."""
    spec = server.spec.model_copy(
        update={
            "upgrade": None,
            "initial_release_name": record.release_name,
            "target_ref": TargetRef(kind="Deployment", name=record.target_name),
        }
    )
    status = AdapterServerStatus(
        current=record.current, candidate=record.candidate, rolled_back=record.rolled_back, reverts=record.reverts
    )
    return server.model_copy(update={"spec": spec, "status": status})


def may_stay(server: AdapterServer, names: frozenset[str]) -> frozenset[str]:
    """Return which of the served `names` may stay behind when the server moves to a newer release.

    The fallback has one base: members that lag behind on another one must pass.
    """
    record, current = server.status.fallback, server.status.current
    if not server.spec.effective_upgrade.splits:
        return frozenset()
    if record is not None and current is not None and record.release_name != current.release_name:
        return names & frozenset(record.served_names)
    return names

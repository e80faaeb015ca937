"""Who goes first in a release, and how many failures halt it, by the operator's own rules."""

from collections.abc import Iterable, Mapping

from pydantic import Field

from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_contract.model import Model
from relora_operator.core.actions import Key
from relora_operator.core.budget import allowed_failures, canaries_of
from relora_operator.core.tally import Tally, Unit


class CanaryUnit(Model):
    """A server that goes first with all its bindings, or a binding without a server that does."""

    kind: str
    namespace: str
    name: str
    bindings: int


class Canaries(Model):
    """Who goes first."""

    min_promoted: int
    """How many of them must be promoted before the others start."""
    deadline_seconds: int
    accepted_failures: int
    """More failures among them halt the release."""
    units: list[CanaryUnit] = Field(default_factory=list)


class Budget(Model):
    """How many failures halt the release."""

    max_failed: str
    halts_at: int | None = None
    """So many of all that take part; None where no number of them does."""
    minimum_sample: int | None = None
    """A percentage is judged when so many have come to an end; None for a number of bindings."""
    halts_early_at: int | None = None
    """So many of the first `minimum_sample`; None where that is no fewer than `halts_at`."""


def canary_units(release: BaseModelRelease, tally: Tally, servers: Iterable[AdapterServer]) -> dict[Key, Unit]:
    """Return the canaries whose promotion the others still wait for, by server or by binding."""
    canary, progress = release.spec.canary, release.status.canaries
    if canary is None or (progress is not None and progress.passed_time is not None):
        return {}
    return canaries_of(canary, tally, servers)


def canaries_view(release: BaseModelRelease, units: Mapping[Key, Unit]) -> Canaries | None:
    """Return who goes first; None where nobody does, or the canaries were promoted already."""
    canary = release.spec.canary
    if canary is None or not units:
        return None
    return Canaries(
        min_promoted=canary.effective_min_promoted,
        deadline_seconds=canary.effective_deadline_seconds,
        accepted_failures=release.spec.failure_budget.effective_accepted_failures,
        units=[
            CanaryUnit(kind=key.kind, namespace=key.namespace, name=key.name, bindings=units[key].bindings)
            for key in sorted(units)
        ],
    )


def budget_view(release: BaseModelRelease, eligible: int) -> Budget:
    """Return how many failures halt a release in which so many bindings take part."""
    budget = release.spec.failure_budget
    allowed = allowed_failures(budget, eligible)
    halts_at = allowed + 1 if allowed is not None and allowed < eligible else None
    sample = budget.effective_minimum_sample if budget.effective_max_failed.endswith("%") else None
    early = allowed_failures(budget, sample) if sample is not None else None
    earlier = early is not None and halts_at is not None and early + 1 < halts_at
    return Budget(
        max_failed=budget.effective_max_failed,
        halts_at=halts_at,
        minimum_sample=sample,
        halts_early_at=early + 1 if early is not None and earlier else None,
    )

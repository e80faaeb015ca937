"""Which members keep a server from moving to a release: all move together, or none does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relora_contract.api.binding import AdapterBinding, BindingConditionType
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.conditions import reason_of
from relora_operator.core.eligibility import open_to
from relora_operator.core.lineage import Chain
from relora_operator.core.membership import Member
from relora_operator.core.observed import NamespaceView
from relora_operator.core.pairs import offer
from relora_operator.core.reasons import REGISTRY, Reason, parse_reason


@dataclass(frozen=True)
class Block:
    """A member without a pair for the release."""

    binding: AdapterBinding
    reason: Reason

    @property
    def final(self) -> bool:
        """Whether it stays so unless someone acts."""
        return REGISTRY[self.reason].terminal


def blocks(
    members: Iterable[Member],
    release: BaseModelRelease,
    chain: Chain,
    namespaces: Mapping[str, NamespaceView],
    profiles: Mapping[str, TrainerProfile],
) -> tuple[Block, ...]:
    """Return the members that offer no pair for the release, in order of namespace and name."""
    name = release.metadata.name
    missing = [member.binding for member in members if offer(member.binding, name, chain) is None]
    missing.sort(key=lambda binding: (binding.metadata.namespace, binding.metadata.name))
    views = {name: namespaces.get(name) for name in {binding.metadata.namespace for binding in missing}}
    shut = {name for name, view in views.items() if view is not None and not open_to(release, view, profiles)}
    return tuple(
        Block(binding, Reason.NOT_ELIGIBLE if binding.metadata.namespace in shut else _why(binding, release))
        for binding in missing
    )


def _why(binding: AdapterBinding, release: BaseModelRelease) -> Reason:
    if not binding.spec.approves(release.metadata.name):
        return Reason.AWAITING_APPROVAL
    candidate = binding.status.candidate
    told = reason_of(binding.status.conditions, BindingConditionType.UP_TO_DATE)
    if candidate is None or candidate.release_name != release.metadata.name:
        return told if told is not None and REGISTRY[told].terminal else Reason.QUEUED
    return parse_reason(candidate.reason) or told or Reason.QUEUED

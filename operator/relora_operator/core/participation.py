"""Which bindings take part in a release, and how far each has come."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, cached_property

from relora_contract.api.binding import AdapterBinding, BindingConditionType, UpdateMode
from relora_contract.readaptation import plan
from relora_operator.core.actions import Key
from relora_operator.core.attempts import active
from relora_operator.core.conditions import holds, reason_of
from relora_operator.core.eligibility import newest_open, open_to
from relora_operator.core.lineage import Chain
from relora_operator.core.membership import binding_key
from relora_operator.core.pairs import Pair, awaits_better, baseline, releases_after
from relora_operator.core.reasons import REGISTRY, Reason, parse_reason
from relora_operator.core.refusals import REFUSED
from relora_operator.core.snapshot import ReleaseSnapshot


class Stage(Enum):
    """Where a binding is on its way to a release."""

    PENDING = auto()
    QUEUED = auto()
    RUNNING = auto()
    PASSED = auto()
    PROMOTED = auto()
    FAILED = auto()
    SKIPPED = auto()


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A binding for which the release is the newest eligible one."""

    binding: AdapterBinding
    start: Pair
    release: str

    @cached_property
    def key(self) -> Key:
        """The binding's key."""
        return binding_key(self.binding)

    @cached_property
    def told(self) -> Reason | None:
        """The reason of its condition UpToDate."""
        return reason_of(self.binding.status.conditions, BindingConditionType.UP_TO_DATE)

    @cached_property
    def stage(self) -> Stage:
        """Where the binding is."""
        status = self.binding.status
        candidate = status.candidate
        if status.current is not None and status.current.release_name == self.release:
            return Stage.PROMOTED
        if candidate is not None and candidate.release_name == self.release:
            if candidate.adapter is not None and not awaits_better(self.binding, candidate):
                return Stage.FAILED if self.told is Reason.ROLLED_BACK else Stage.PASSED
            if candidate.reason is not None:
                return Stage.FAILED
            if self.refused:
                return Stage.PENDING
            if active(candidate):
                return Stage.QUEUED if self.told is Reason.QUEUED else Stage.RUNNING
        return self._without_job

    @property
    def _without_job(self) -> Stage:
        """Where a binding is that has neither a Job nor its outcome."""
        if self.binding.spec.suspend:
            return Stage.SKIPPED
        if self.told is Reason.RELEASE_HALTED:
            return Stage.PENDING
        if holds(self.binding.status.conditions, BindingConditionType.STALLED) or self.told is Reason.DELTA_FAILED:
            return Stage.FAILED
        return Stage.QUEUED if self.told is Reason.QUEUED else Stage.PENDING

    @property
    def final(self) -> bool:
        """Whether the binding stays where it is unless someone acts."""
        if self.stage is Stage.PASSED:
            return self.told is not None and REGISTRY[self.told].terminal and self.told is not Reason.RELEASE_HALTED
        return self.stage in {Stage.PROMOTED, Stage.FAILED, Stage.SKIPPED}

    @property
    def failure(self) -> Reason | None:
        """Why the binding does not reach the release, when it ended without."""
        if not self.final or self.stage in {Stage.PROMOTED, Stage.SKIPPED}:
            return None
        candidate = self.binding.status.candidate
        named = candidate.reason if candidate is not None and candidate.release_name == self.release else None
        return parse_reason(named) or self.told or Reason.ADAPTATION_FAILED

    @property
    def refused(self) -> bool:
        """Whether the API server refuses the binding's Job."""
        return self._attempting and self.told in REFUSED

    @property
    def suspended(self) -> bool:
        """Whether a queue holds the binding's Job."""
        return self._attempting and self.told is Reason.QUEUED

    @property
    def holds_slot(self) -> bool:
        """Whether a Job of the binding for this release may run."""
        return self._attempting and not self.refused

    @property
    def _attempting(self) -> bool:
        candidate = self.binding.status.candidate
        return candidate is not None and candidate.release_name == self.release and active(candidate)

    @property
    def wants_slot(self) -> bool:
        """Whether the binding's Job could start with a slot, or could be tried again."""
        return self.refused or (self.stage is Stage.QUEUED and not self.holds_slot)

    @property
    def wants_delta(self) -> bool:
        """Whether the binding's strategy reads a delta that ends at the release."""
        if self.start.release == self.release or self.binding.status.observed_generation < 0:
            return False
        on_its_way = self.stage in {Stage.PENDING, Stage.QUEUED, Stage.RUNNING} or self.told is Reason.DELTA_FAILED
        return on_its_way and plan(self.binding.spec.effective_readaptation).uses_delta


def participants(snapshot: ReleaseSnapshot, chain: Chain) -> Iterator[Participant]:
    """Yield the bindings whose newest eligible release this is, in order of namespace and name."""
    name = snapshot.release.metadata.name
    if not chain.accepts(name):
        return
    profiles = dict(snapshot.profiles)
    if snapshot.profile is not None:
        profiles[snapshot.profile.metadata.name] = snapshot.profile

    @cache
    def takes_part(namespace: str, *, by_approval: bool) -> bool:
        view = snapshot.namespaces.get(namespace)
        if view is None or view.terminating:
            return False
        if by_approval:
            return open_to(snapshot.release, view, profiles)
        newest = newest_open(chain.releases, view, profiles)
        return newest is not None and newest.metadata.name == name

    for binding in sorted(snapshot.bindings, key=binding_key):
        manual = binding.spec.effective_update_policy.mode is UpdateMode.MANUAL
        if binding.metadata.deletion_timestamp is not None or not binding.spec.approves(name):
            continue
        if not takes_part(binding.metadata.namespace, by_approval=manual):
            continue
        start = baseline(binding, chain)
        if start is not None and (start.release == name or _is_newer(name, start, binding, chain)):
            yield Participant(binding=binding, start=start, release=name)


def _is_newer(name: str, start: Pair, binding: AdapterBinding, chain: Chain) -> bool:
    return any(release.metadata.name == name for release in releases_after(start, binding, chain))

"""Which bindings take part in a release, and how far each has come."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from relora_contract.api.binding import AdapterBinding, BindingConditionType, UpdateMode
from relora_contract.api.profile import TrainerProfile
from relora_contract.readaptation import reads_delta
from relora_operator.core.actions import Key
from relora_operator.core.attempts import active
from relora_operator.core.conditions import holds, reason_of
from relora_operator.core.eligibility import newest_open, open_to
from relora_operator.core.lineage import Chain
from relora_operator.core.membership import binding_key
from relora_operator.core.observed import NamespaceView
from relora_operator.core.pairs import Pair, awaits_better, baseline, releases_after
from relora_operator.core.reasons import REGISTRY, Reason, parse_reason
from relora_operator.core.refusals import REFUSED


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
        candidate = self.binding.status.candidate
        if candidate is not None and candidate.release_name != self.release:
            return Stage.PENDING  # it has not been looked at since the release came: it tells of an earlier one
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
    def rejudging(self) -> bool:
        """Whether the binding's Job judges stored outcomes by changed gates."""
        candidate = self.binding.status.candidate
        return self._attempting and candidate is not None and candidate.rejudging

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
        return on_its_way and reads_delta(self.binding.spec.effective_readaptation.effective_strategy)


@dataclass(frozen=True, kw_only=True)
class Participation:
    """Tells which bindings take part in a release.

    It reads the specs of releases and profiles, never what the releases' statuses say beyond their order.
    """

    release: str
    chain: Chain
    profiles: Mapping[str, TrainerProfile]
    """By name; those that the family's releases name."""

    def of(self, binding: AdapterBinding, namespace: NamespaceView | None) -> Participant | None:
        """Return the binding as a participant; None when this is not its newest eligible release."""
        if binding.metadata.deletion_timestamp is not None or namespace is None or namespace.terminating:
            return None
        if not binding.spec.approves(self.release) or not self._open_to(binding, namespace):
            return None
        start = baseline(binding, self.chain)
        if start is None or not (start.release == self.release or _is_newer(self.release, start, binding, self.chain)):
            return None
        return Participant(binding=binding, start=start, release=self.release)

    def _open_to(self, binding: AdapterBinding, namespace: NamespaceView) -> bool:
        release = self.chain.known.get(self.release)
        if release is None or not self.chain.accepts(self.release):
            return False
        if binding.spec.effective_update_policy.mode is UpdateMode.MANUAL:
            return open_to(release, namespace, self.profiles)
        newest = newest_open(self.chain.releases, namespace, self.profiles)
        return newest is not None and newest.metadata.name == self.release

    @property
    def grounds(self) -> tuple[object, ...]:
        """Everything that decides besides a binding and its namespace: while it is equal, so are the answers."""
        known = [(one.metadata.name, one.metadata.creation_timestamp, one.spec) for one in self.chain.known.values()]
        order = [release.metadata.name for release in self.chain.releases]
        return self.release, known, order, [(name, profile.spec) for name, profile in self.profiles.items()]


def participants(
    participation: Participation, bindings: Iterable[AdapterBinding], namespaces: Mapping[str, NamespaceView]
) -> Iterator[Participant]:
    """Yield the bindings that take part, in order of namespace and name."""
    for binding in sorted(bindings, key=binding_key):
        found = participation.of(binding, namespaces.get(binding.metadata.namespace))
        if found is not None:
            yield found


def _is_newer(name: str, start: Pair, binding: AdapterBinding, chain: Chain) -> bool:
    return any(release.metadata.name == name for release in releases_after(start, binding, chain))

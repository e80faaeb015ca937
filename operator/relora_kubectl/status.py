"""How far releases have come, as a view of what releases, servers and bindings record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.meta import ApiObject, Condition, ConditionStatus
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import (
    BaseModelRelease,
    BaseModelReleaseStatus,
    BindingCounts,
    DeltaStatus,
    ReleaseConditionType,
)
from relora_contract.api.server import AdapterServer, ServerConditionType
from relora_contract.model import Model
from relora_kubectl.advice import Advice, advice
from relora_kubectl.step_times import StepTimes, step_times
from relora_kubectl.wording import counted, human_duration
from relora_operator.core.attempts import active
from relora_operator.core.conditions import find, holds
from relora_operator.core.reasons import Reason
from relora_operator.core.slots import pace_of
from relora_operator.core.times import moment, seconds_between, timestamp

NOT_SEEN = "NotSeen"
"""In place of a reason: the operator has not told of this generation yet."""
PHASES = tuple(name for name in BindingCounts.model_fields if name != "eligible")
"""Where a binding can be, in the order of its way."""


class Phase(Model):
    """How many bindings of a release are at one place."""

    name: str
    count: int


class Delta(Model):
    """A delta that the release needs."""

    source_release_name: str
    state: str
    """`Stored`, `Running`, `Waiting` or `Failed`."""
    message: str = ""


class Estimate(Model):
    """When the Jobs of a release will have ended."""

    seconds: int | None = None
    """None: there is no basis for an estimate; `basis` says why."""
    completion_time: str | None = None
    basis: str


class Blocked(Model):
    """A binding that failed, or that keeps a server back."""

    namespace: str
    name: str
    reason: str


class ReleaseView(Model):
    """One release."""

    name: str
    model: str
    version: str
    supersedes: str | None = None
    complete: bool
    status: Advice
    """Reason and message of the condition Complete."""
    stalled: Advice | None = None
    eligible: int | None = None
    """None until the operator has counted."""
    phases: list[Phase] = Field(default_factory=list)
    deltas: list[Delta] = Field(default_factory=list)
    failures: list[Blocked] = Field(default_factory=list)
    estimate: Estimate | None = None
    """None when no Job is to come."""
    start_time: str | None = None
    completion_time: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the release does not take part, so that it will never be complete."""
        return self.stalled is not None and not self.complete and self.status.reason == self.stalled.reason

    @property
    def failed(self) -> bool:
        """Whether not everything that takes part was promoted, or will be."""
        return self.refused or (self.complete and self.status.reason == Reason.COMPLETED_WITH_FAILURES)


class ServerView(Model):
    """A server that is not up to date."""

    namespace: str
    name: str
    model: str
    release_name: str
    """The release that it serves."""
    status: Advice
    blockers: list[Blocked] = Field(default_factory=list)


class StatusView(Model):
    """Releases, and the servers of their models that are not up to date."""

    releases: list[ReleaseView]
    servers: list[ServerView]

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be waited for."""
        return all(release.complete or release.refused for release in self.releases)

    @property
    def failed(self) -> bool:
        """Whether a release ended, or will end, without all of its bindings."""
        return any(release.failed for release in self.releases)

    @property
    def promoted(self) -> bool:
        """Whether everything that takes part was promoted: no release gave way to another one, or was taken back."""
        wanted = {Reason.ALL_PROMOTED, Reason.NO_BINDINGS}
        return all(release.complete and release.status.reason in wanted for release in self.releases)


def selected(releases: Sequence[BaseModelRelease], name: str | None) -> list[BaseModelRelease]:
    """Return the release of that name; without a name every one that is not superseded, the oldest first."""
    if name is not None:
        return [release for release in releases if release.metadata.name == name]
    counting = [release for release in releases if not _superseded(release)]
    return sorted(counting, key=lambda one: (one.spec.model, one.metadata.creation_timestamp, one.metadata.name))


def _superseded(release: BaseModelRelease) -> bool:
    complete = find(release.status.conditions, ReleaseConditionType.COMPLETE)
    return complete is not None and complete.reason == Reason.SUPERSEDED


def under_way(release: BaseModelRelease) -> bool:
    """Tell whether Jobs of the release run or are to come, so that an estimate is of interest."""
    counts = release.status.bindings
    return counts is not None and counts.to_come + counts.running > 0


def status_view(
    releases: Sequence[BaseModelRelease],
    *,
    name: str | None,
    servers: Sequence[AdapterServer],
    bindings: Sequence[AdapterBinding],
    profiles: Mapping[str, TrainerProfile],
    namespace: str = "",
    now: datetime,
) -> StatusView:
    """Return the view of one release, or of all that are not superseded.

    Args:
        releases: All of them: earlier ones tell how long deltas take.
        name: The release that is asked for; None for all.
        servers: The servers of the namespaces that are asked for.
        bindings: The bindings from which step times are taken; may be empty.
        profiles: By name; a queue that one names sets the pace in place of a release.
        namespace: The one that servers and bindings are of; empty for all.
        now: The moment of the estimate.
    """
    shown = selected(releases, name)
    models = {release.spec.model for release in shown}
    by_model: dict[str, list[AdapterBinding]] = {model: [] for model in models}
    for binding in bindings:
        if binding.spec.model in models:
            by_model[binding.spec.model].append(binding)
    late = [server for server in servers if server.spec.model in models and not _up_to_date(server)]
    return StatusView(
        releases=[
            _release(
                release, _Basis(releases, by_model[release.spec.model], profiles.get(_profile(release)), namespace, now)
            )
            for release in shown
        ],
        servers=[_server(server) for server in sorted(late, key=_place)],
    )


@dataclass(frozen=True)
class _Basis:
    """What an estimate rests on: the releases and bindings of the model, the release's profile, and the time."""

    releases: Sequence[BaseModelRelease]
    bindings: Sequence[AdapterBinding]
    profile: TrainerProfile | None
    namespace: str
    """Of the bindings; empty for all."""
    now: datetime


def _profile(release: BaseModelRelease) -> str:
    return release.spec.profile_ref.name


def _place(server: AdapterServer) -> tuple[str, str]:
    return server.metadata.namespace, server.metadata.name


def _up_to_date(server: AdapterServer) -> bool:
    return _seen(server, server.status.observed_generation) and holds(
        server.status.conditions, ServerConditionType.UP_TO_DATE
    )


def _seen(one: ApiObject, observed_generation: int) -> bool:
    return observed_generation >= one.metadata.generation


def _told(condition: Condition | None, *, seen: bool) -> Advice:
    if condition is None or not seen:
        return Advice(reason=NOT_SEEN, message="the operator has not looked at it yet; does it run?")
    return advice(condition.reason, condition.message)


def _release(release: BaseModelRelease, basis: _Basis) -> ReleaseView:
    status, spec = release.status, release.spec
    seen = _seen(release, status.observed_generation)
    complete = find(status.conditions, ReleaseConditionType.COMPLETE)
    stalled = find(status.conditions, ReleaseConditionType.STALLED)
    counts = status.bindings if seen else None
    return ReleaseView(
        name=release.metadata.name,
        model=spec.model,
        version=spec.version,
        supersedes=spec.supersedes,
        complete=seen and complete is not None and complete.status is ConditionStatus.TRUE,
        status=_told(complete, seen=seen),
        stalled=_told(stalled, seen=seen) if seen and stalled is not None else None,
        eligible=counts.eligible if counts is not None else None,
        phases=[Phase(name=phase, count=getattr(counts, phase)) for phase in PHASES] if counts is not None else [],
        deltas=[_delta(delta) for delta in status.deltas],
        failures=[
            Blocked(namespace=sample.namespace, name=sample.name, reason=sample.reason)
            for sample in status.failure_samples
        ],
        estimate=_estimate(release, basis) if seen and under_way(release) else None,
        start_time=status.start_time,
        completion_time=status.completion_time,
    )


def _delta(record: DeltaStatus) -> Delta:
    if record.digest is not None:
        state = "Stored"
    elif record.reason is not None:
        state = "Failed"
    else:
        state = "Running" if active(record) else "Waiting"
    return Delta(
        source_release_name=record.source_release_name,
        state=state,
        message=(record.message or "") if state in {"Failed", "Waiting"} else "",
    )


def _server(server: AdapterServer) -> ServerView:
    status = server.status
    return ServerView(
        namespace=server.metadata.namespace,
        name=server.metadata.name,
        model=server.spec.model,
        release_name=status.current.release_name if status.current is not None else "",
        status=_told(
            find(status.conditions, ServerConditionType.UP_TO_DATE), seen=_seen(server, status.observed_generation)
        ),
        blockers=[
            Blocked(namespace=blocker.namespace, name=blocker.name, reason=blocker.reason)
            for blocker in status.blockers
        ],
    )


def _estimate(release: BaseModelRelease, basis: _Basis) -> Estimate:
    """Return when the Jobs will have ended: what is left of them, shared by the slots.

    The basis is what ended for this release; before the first of those, what is left of earlier ones.
    """
    if release.spec.suspend:
        return Estimate(basis="no estimate: the release is suspended")
    if holds(release.status.conditions, ReleaseConditionType.HALTED):
        return Estimate(basis="no estimate: the release is halted")
    if basis.namespace:
        return Estimate(basis=f"no estimate: only the bindings of namespace {basis.namespace} were read")
    releases, bindings, now = basis.releases, basis.bindings, basis.now
    own = step_times(bindings, releases, release_name=release.metadata.name)
    times = own if own.overall is not None else step_times(bindings, releases)
    sample, delta = times.overall, _delta_seconds(release.status, times, now)
    if sample is None:
        return Estimate(basis="no estimate yet: no re-adaptation has ended")
    if delta is None:
        return Estimate(basis="no estimate yet: no delta of the model has ended")
    counts = release.status.bindings or BindingCounts()
    left = counts.to_come * sample.seconds + sum(
        max(0.0, sample.seconds - elapsed) for elapsed in _elapsed(release.metadata.name, bindings, now)
    )
    slots = _slots(release, basis, counts.to_come + counts.running)
    seconds = round(delta + left / slots)
    which = "" if times is own else " to earlier releases"
    return Estimate(
        seconds=seconds,
        completion_time=timestamp(now + timedelta(seconds=seconds)),
        basis=(
            f"{counted(sample.count, 're-adaptation')}{which} of {human_duration(sample.seconds)} each, "
            f"{slots} at a time"
        ),
    )


def _slots(release: BaseModelRelease, basis: _Basis, left: int) -> int:
    """Return how many of the Jobs that are left may run at once, in all and in their namespaces."""
    pace, name = pace_of(release, basis.profile), release.metadata.name
    found = Counter(
        binding.metadata.namespace
        for binding in basis.bindings
        if (candidate := binding.status.candidate) is not None
        and candidate.release_name == name
        and candidate.adapter is None
        and candidate.reason is None
    )
    within = sum(min(count, pace.in_a_namespace) for count in found.values()) or left
    return max(1, min(pace.in_all, within, left))


def _delta_seconds(status: BaseModelReleaseStatus, times: StepTimes, now: datetime) -> float | None:
    """Return how long the deltas take that are not stored yet, which run side by side; None when nobody knows."""
    missing = [delta for delta in status.deltas if delta.digest is None and delta.reason is None]
    if not missing:
        return 0.0
    if times.delta is None:
        return None
    elapsed = [
        seconds_between(delta.start_time, now) if active(delta) and delta.start_time else 0.0 for delta in missing
    ]
    return max(0.0, times.delta.seconds - min(elapsed))


def _elapsed(release_name: str, bindings: Sequence[AdapterBinding], now: datetime) -> list[float]:
    """Return for how long each re-adaptation to the release has run."""
    found = []
    for binding in bindings:
        candidate = binding.status.candidate
        if candidate is None or candidate.release_name != release_name or not active(candidate):
            continue
        starts = [moment(step.start_time) for step in candidate.steps if step.start_time is not None]
        found.append((now - min(starts)).total_seconds() if starts else 0.0)
    return found

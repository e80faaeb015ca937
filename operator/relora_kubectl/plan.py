"""What a release would do to a fleet, by the operator's own rules, as a view."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import Field

from relora_contract.api.release import BaseModelRelease
from relora_contract.model import Model
from relora_contract.readaptation import reads_delta
from relora_kubectl.advice import Advice, advice, advice_on
from relora_kubectl.exclusions import Exclusions
from relora_kubectl.fleet import Fleet
from relora_kubectl.halts import Budget, Canaries, budget_view, canaries_view, canary_units
from relora_kubectl.kinds import full_name
from relora_kubectl.release_file import InvalidReleaseError, changed_immutable_fields
from relora_kubectl.returns import Returns, returns_of
from relora_kubectl.schedule import Start, Task, schedule
from relora_kubectl.server_moves import ServerMove, Servers
from relora_kubectl.step_times import StepTimes, step_times, strategy_of
from relora_kubectl.wording import counted, human_duration
from relora_operator.core.actions import Key
from relora_operator.core.budget import started_at, tried
from relora_operator.core.lineage import Chain, Refusal, chain
from relora_operator.core.membership import server_key
from relora_operator.core.obstacles import delta_digest_of
from relora_operator.core.participation import Participant, Participation, Stage, participants
from relora_operator.core.reasons import Reason
from relora_operator.core.slots import UNLIMITED, pace_of
from relora_operator.core.tally import Tally
from relora_operator.core.times import moment, timestamp
from relora_operator.core.work import ReadaptationWork, image_digest


class DeltaPlan(Model):
    """A delta that bindings of the release need."""

    source_release_name: str
    bindings: int
    stored: bool


class JobPlan(Model):
    """A re-adaptation Job, at its place in the order."""

    namespace: str
    name: str
    source_release_name: str
    strategy: str
    server: str = ""
    start_seconds: int | None = None
    """From the release to its start; None without a basis for an estimate."""


class Excluded(Model):
    """A binding for which no Job would start."""

    namespace: str
    name: str
    told: Advice


class Estimate(Model):
    """How long the Jobs would take."""

    job_seconds: int | None = None
    """All of them together; None without a basis."""
    seconds: int | None = None
    """From the release to the end of the last one; None also where a queue decides when they run."""
    basis: str


class PlanView(Model):
    """What would happen if the release were applied."""

    release: str
    model: str
    supersedes: str | None = None
    exists: bool
    """A release of that name exists: the plan is that of a change."""
    refused: Advice | None = None
    """Why the release would not be accepted; then nothing else is planned."""
    lacking: Advice | None = None
    """What is missing before a Job can start."""
    bindings: int = 0
    """Of the model, whether they take part or not."""
    eligible: int = 0
    max_running_jobs: int | None = None
    """None where the release sets no limit, and a queue the pace."""
    max_running_jobs_per_namespace: int | None = None
    queue: str | None = None
    """The LocalQueue that the profile names, which sets the pace."""
    max_queued_jobs: int | None = None
    """How many Jobs wait in the queue at once."""
    canaries: Canaries | None = None
    """Who goes first; None where nobody does, or has done so."""
    budget: Budget | None = None
    running: int = 0
    settled: int = 0
    """Bindings that are on the release, or have come to their end for it."""
    deltas: list[DeltaPlan] = Field(default_factory=list)
    jobs: list[JobPlan] = Field(default_factory=list)
    """In the order in which they would start."""
    estimate: Estimate | None = None
    """None when no Job would start."""
    servers: list[ServerMove] = Field(default_factory=list)
    excluded: list[Excluded] = Field(default_factory=list)
    returns: Returns | None = None
    """What leaves the release, when it is withdrawn."""

    @property
    def works(self) -> bool:
        """Whether the release would be accepted, and its Jobs could start unless it holds them back itself."""
        wanted = {Reason.SUSPENDED, Reason.WITHDRAWN}
        return self.refused is None and (self.lacking is None or self.lacking.reason in wanted)

    @property
    def delta_jobs(self) -> int:
        """How many delta Jobs would start."""
        return sum(not delta.stored for delta in self.deltas)


def plan_view(wanted: BaseModelRelease, fleet: Fleet, now: datetime) -> PlanView:
    """Return what would happen if `wanted` were applied now.

    Raises:
        InvalidReleaseError: It exists, and `wanted` changes what is immutable.
    """
    live = next((one for one in fleet.releases if one.metadata.name == wanted.metadata.name), None)
    others = [one for one in fleet.releases if one is not live]
    release = _created(wanted, others, now) if live is None else _changed(wanted, live)
    family = [*others, release]
    order = chain(release.spec.model, family)
    view = PlanView(
        release=release.metadata.name,
        model=release.spec.model,
        supersedes=release.spec.supersedes,
        exists=live is not None,
    )
    refusal = order.refused.get(release.metadata.name)
    if refusal is not None:
        return view.model_copy(update={"refused": advice_on(refusal)})
    if release.spec.withdrawn:
        told = (
            f"release {release.metadata.name} is withdrawn (spec.withdrawn): what is on it returns to what was before"
        )
        taken = {"lacking": advice(Reason.WITHDRAWN, told), "returns": returns_of(release, fleet)}
        return view.model_copy(update=taken)
    return _Planning(release, tuple(family), order, fleet).complete(view, now)


def _created(wanted: BaseModelRelease, others: Iterable[BaseModelRelease], now: datetime) -> BaseModelRelease:
    """Return the release as the API server would create it: after every other one, whatever the clock here says."""
    latest = max((moment(one.metadata.creation_timestamp) for one in others), default=now)
    created = timestamp(max(now, latest + timedelta(seconds=1)))
    return wanted.model_copy(update={"metadata": wanted.metadata.model_copy(update={"creation_timestamp": created})})


def _changed(wanted: BaseModelRelease, live: BaseModelRelease) -> BaseModelRelease:
    problems = changed_immutable_fields(live, wanted)
    if problems:
        raise InvalidReleaseError(f"the change of release {live.metadata.name}", problems)
    generation = live.metadata.generation + (wanted.spec != live.spec)
    metadata = live.metadata.model_copy(update={"generation": generation})
    return live.model_copy(update={"spec": wanted.spec, "metadata": metadata})


class _Planning:
    """An accepted release among the objects of its fleet; everything that many bindings ask for is built once."""

    def __init__(
        self,
        release: BaseModelRelease,
        family: tuple[BaseModelRelease, ...],
        order: Chain,
        fleet: Fleet,
    ) -> None:
        self._release = release
        self._name = release.metadata.name
        self._bindings = [binding for binding in fleet.bindings if binding.spec.model == release.spec.model]
        profiles = {profile.metadata.name: profile for profile in fleet.profiles}
        self._profile = profiles.get(release.spec.profile_ref.name)
        participation = Participation(release=self._name, chain=order, profiles=profiles)
        self._everyone = list(participants(participation, self._bindings, fleet.namespaces))
        self._exclusions = Exclusions(release, order, fleet.namespaces, profiles)
        self._servers = Servers(release, family, order, fleet)
        self._times = step_times(self._bindings, [one for one in family if one.spec.model == release.spec.model])
        self._tally = Tally(release=self._name)
        for participant in self._everyone:
            self._tally.put(participant.key, participant.binding, participant)
        self._fleet_servers = [server for server in fleet.servers if server.spec.model == release.spec.model]
        self._canaries = canary_units(release, self._tally, self._fleet_servers)
        self._pace = pace_of(release, self._profile)

    def complete(self, view: PlanView, now: datetime) -> PlanView:
        """Fill in what the bindings and the servers tell."""
        taking_part = {participant.key for participant in self._everyone}
        excluded = self._exclusions.of(self._bindings, taking_part)
        waiting, running, settled = [], [], 0
        for participant in self._everyone:
            refusal = self._servers.refusal(participant.binding)
            stage = self._stage(participant)
            if participant.holds_slot:
                running.append(participant)
            elif stage is Stage.SKIPPED:
                excluded[participant.key] = Refusal(Reason.SUSPENDED, "the binding is suspended (spec.suspend)")
            elif stage not in {Stage.PENDING, Stage.QUEUED} or participant.start.release == self._name:
                settled += 1  # the last: its adapter was made for the release, and waits for its server
            elif refusal is not None:
                excluded[participant.key] = refusal
            else:
                waiting.append(participant)
        deltas = self._deltas(waiting)
        starts = self._schedule(waiting, running, deltas)
        return view.model_copy(
            update={
                "lacking": self._lack(now),
                **self._limits(),
                "canaries": canaries_view(self._release, self._canaries),
                "budget": budget_view(self._release, len(self._everyone)),
                "bindings": len(self._bindings),
                "eligible": len(self._everyone),
                "running": len(running),
                "settled": settled,
                "deltas": deltas,
                "jobs": self._jobs(waiting, starts),
                "estimate": self._estimate(waiting, starts, deltas) if waiting else None,
                "servers": self._servers.moves(excluded),
                "excluded": [
                    Excluded(namespace=key.namespace, name=key.name, told=advice_on(told))
                    for key, told in sorted(excluded.items())
                ],
            }
        )

    def _stage(self, participant: Participant) -> Stage:
        """Return where the binding is; what held it back on its way to an earlier release does not count."""
        candidate = participant.binding.status.candidate
        if participant.stage is Stage.FAILED and (candidate is None or candidate.release_name != self._name):
            return Stage.PENDING
        return participant.stage

    def _limits(self) -> dict[str, object]:
        pace, profile = self._pace, self._profile
        limits = (pace.in_all, pace.in_a_namespace)
        in_all, in_a_namespace = (limit if limit < UNLIMITED else None for limit in limits)
        queue = profile.spec.local_queue_name if profile is not None else None
        return {
            "max_running_jobs": in_all,
            "max_running_jobs_per_namespace": in_a_namespace,
            "queue": queue,
            "max_queued_jobs": pace.in_queue if queue is not None else None,
        }

    def _lack(self, now: datetime) -> Advice | None:
        spec = self._release.spec
        if self._profile is None:
            told = f"TrainerProfile {spec.profile_ref.name} (spec.profileRef) does not exist"
            return advice(Reason.PROFILE_NOT_FOUND, told)
        if spec.suspend:
            return advice(Reason.SUSPENDED, f"release {self._name} is suspended (spec.suspend)")
        trial = tried(self._release, self._tally, self._fleet_servers, started_at(self._release, now), now)
        return advice_on(trial.halt) if trial.halt is not None else None

    def _deltas(self, waiting: Iterable[Participant]) -> list[DeltaPlan]:
        counts: dict[str, int] = {}
        stored: dict[str, bool] = {}
        for participant in waiting:
            if not reads_delta(strategy_of(participant.binding)):
                continue
            source = participant.start.release
            counts[source] = counts.get(source, 0) + 1
            if source not in stored:
                stored[source] = self._stored(participant)
        return [
            DeltaPlan(source_release_name=source, bindings=count, stored=stored[source])
            for source, count in sorted(counts.items())
        ]

    def _stored(self, participant: Participant) -> bool:
        if self._profile is None:
            return False
        image = image_digest(self._profile)
        work = ReadaptationWork(binding=participant.binding, start=participant.start, target=self._release, image=image)
        return delta_digest_of(work) is not None

    def _schedule(
        self, waiting: Sequence[Participant], running: Sequence[Participant], deltas: Sequence[DeltaPlan]
    ) -> list[Start]:
        delta = self._times.delta.seconds if self._times.delta is not None else 0.0
        sources = {one.source_release_name: 0.0 if one.stored else delta for one in deltas}
        tasks = [_task(one, self._times, ready_seconds=_ready_seconds(one, sources)) for one in waiting]
        held = [_task(one, self._times) for one in running]
        if self._canaries:
            first = {one.key for one in self._everyone if _unit(one) in self._canaries}
            going = schedule([task for task in tasks if task.key in first], self._pace, running=held)
            passed = self._canaries_end(going, held)
            tasks = [task if task.key in first else task.not_before(passed) for task in tasks]
        return schedule(tasks, self._pace, running=held)

    def _canaries_end(self, going: Iterable[Start], running: Iterable[Task]) -> float:
        """Return when the Jobs of as many canaries have ended as must be promoted before the others start."""
        ends = {task.key: task.seconds for task in running} | {start.key: start.end_seconds for start in going}
        units = dict.fromkeys(self._canaries, 0.0)
        for one in self._everyone:
            if (unit := _unit(one)) in units:
                units[unit] = max(units[unit], ends.get(one.key, 0.0))
        canary = self._release.spec.canary
        least = canary.effective_min_promoted if canary is not None else 1
        return sorted(units.values())[min(least, len(units)) - 1]

    def _jobs(self, waiting: Iterable[Participant], starts: Iterable[Start]) -> list[JobPlan]:
        by_key = {participant.key: participant for participant in waiting}
        known = self._times.overall is not None and not self._pace.queued
        return [_job(by_key[start.key], start, known=known) for start in starts]

    def _estimate(
        self, waiting: Sequence[Participant], starts: Sequence[Start], deltas: Sequence[DeltaPlan]
    ) -> Estimate:
        sample = self._times.overall
        if sample is None:
            return Estimate(basis="no estimate yet: no re-adaptation of the model has ended")
        unknown = self._times.delta is None and any(not delta.stored for delta in deltas)
        return Estimate(
            job_seconds=round(sum(_expected(participant, self._times) for participant in waiting)),
            seconds=None if self._pace.queued else round(max(start.end_seconds for start in starts)),
            basis=f"{counted(sample.count, 're-adaptation')} of {human_duration(sample.seconds)} each"
            + ("; the delta is not counted, none has ended yet" if unknown else ""),
        )


def _unit(participant: Participant) -> Key:
    """Return with whom the binding is a canary: its server, or itself."""
    return server_key(participant.binding) or participant.key


def _expected(participant: Participant, times: StepTimes) -> float:
    """Return the mean time of the binding's strategy, else of all; any will do for the order when none is known."""
    sample = times.readaptation.get(strategy_of(participant.binding)) or times.overall
    return sample.seconds if sample is not None else 1.0


def _ready_seconds(participant: Participant, sources: Mapping[str, float]) -> float:
    """Return when the delta that the binding needs is there; `sources` tells it by the releases that they come from."""
    needed = reads_delta(strategy_of(participant.binding))
    return sources.get(participant.start.release, 0.0) if needed else 0.0


def _task(participant: Participant, times: StepTimes, *, ready_seconds: float = 0.0) -> Task:
    return Task(
        key=participant.key,
        created=participant.binding.metadata.creation_timestamp,
        priority=participant.binding.spec.priority or 0,
        seconds=_expected(participant, times),
        ready_seconds=ready_seconds,
    )


def _job(participant: Participant, start: Start, *, known: bool) -> JobPlan:
    reference = participant.binding.spec.server_ref
    return JobPlan(
        namespace=participant.key.namespace,
        name=participant.key.name,
        source_release_name=participant.start.release,
        strategy=strategy_of(participant.binding),
        server=full_name(reference.namespace or participant.key.namespace, reference.name) if reference else "",
        start_seconds=round(start.start_seconds) if known else None,
    )

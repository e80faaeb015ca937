"""How long re-adaptations and deltas took, as the statuses of bindings and releases record it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relora_contract.api.binding import AdapterBinding, Candidate
from relora_contract.api.release import BaseModelRelease
from relora_contract.readaptation import Strategy
from relora_operator.core.times import moment, seconds_between


@dataclass(frozen=True)
class Sample:
    """The mean of some durations."""

    seconds: float
    count: int


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """What is known of durations in a fleet."""

    readaptation: Mapping[Strategy, Sample] = field(default_factory=dict)
    """Time of all steps of a re-adaptation that came to a verdict, by strategy."""
    delta: Sample | None = None

    @property
    def overall(self) -> Sample | None:
        """The mean over all strategies, weighted by how often each was seen."""
        count = sum(sample.count for sample in self.readaptation.values())
        if not count:
            return None
        return Sample(sum(sample.seconds * sample.count for sample in self.readaptation.values()) / count, count)


def strategy_of(binding: AdapterBinding) -> Strategy:
    """Return the strategy of a binding, with its default; a whole plan for each binding of a fleet takes seconds."""
    return binding.spec.effective_readaptation.effective_strategy


def step_times(
    bindings: Iterable[AdapterBinding], releases: Iterable[BaseModelRelease], *, release_name: str | None = None
) -> StepTimes:
    """Return the means over everything that ended; with a release's name, over what ended for that release."""
    durations: dict[Strategy, list[float]] = {}
    for binding in bindings:
        seconds = _latest(binding, release_name)
        if seconds is not None:
            durations.setdefault(strategy_of(binding), []).append(seconds)
    deltas = [
        seconds_between(delta.start_time, moment(delta.end_time))
        for release in releases
        for delta in release.status.deltas
        if delta.digest is not None and delta.start_time is not None and delta.end_time is not None
    ]
    return StepTimes(
        readaptation={strategy: _mean(found) for strategy, found in durations.items()},
        delta=_mean(deltas) if deltas else None,
    )


def _latest(binding: AdapterBinding, release_name: str | None) -> float | None:
    """Return the time of the binding's last re-adaptation that ended: the candidate's, else that of a pair in use.

    The steps of a candidate are gone once the next release gives the binding another one.
    """
    status = binding.status
    candidate = status.candidate
    if candidate is not None and release_name in {None, candidate.release_name}:
        seconds = _seconds(candidate)
        if seconds is not None:
            return seconds
    pairs = (pair for pair in (status.current, *status.history) if pair is not None)
    known = (pair.readaptation_seconds for pair in pairs if release_name in {None, pair.release_name})
    return next((float(seconds) for seconds in known if seconds is not None), None)


def _mean(durations: list[float]) -> Sample:
    return Sample(sum(durations) / len(durations), len(durations))


def _seconds(candidate: Candidate) -> float | None:
    """Return the time of the steps; None when none came to a verdict: what broke at once tells nothing of the rest."""
    if candidate.end_time is None or not any(step.verdict is not None for step in candidate.steps):
        return None
    return sum(
        seconds_between(step.start_time, moment(step.end_time))
        for step in candidate.steps
        if step.start_time is not None and step.end_time is not None
    )

"""What the operator tells Prometheus. No label names a binding: a fleet has thousands."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from relora_contract.api.binding import AdapterBindingStatus, Candidate, StepState, StepStatus
from relora_contract.api.meta import ConditionStatus
from relora_contract.api.release import BaseModelRelease, ReleaseConditionType
from relora_contract.api.server import AdapterServer, AdapterServerStatus, FallbackSet, ServerConditionType
from relora_contract.model import Model
from relora_contract.readaptation import STEPS
from relora_contract.report import Verdict
from relora_operator.core.conditions import find, holds

_HOURS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200)

LEADER = Gauge("relora_leader", "1 on the replica that holds the Lease.")
TIME_TO_READINESS = Histogram(
    "relora_time_to_readiness_seconds",
    "From a release's creation to a binding's first passed gate.",
    buckets=_HOURS,
)
STEP_DURATION = Histogram(
    "relora_step_duration_seconds",
    "Time of one ended step of a re-adaptation.",
    ("step", "outcome"),
    buckets=_HOURS,
)
GATE_VERDICTS = Counter("relora_gate_verdicts_total", "What the quality gates said.", ("step", "verdict"))
ROLLOUTS = Counter("relora_rollouts_total", "Roll-outs of serving sets that ended.", ("outcome",))
RECONCILES = Counter("relora_reconciles_total", "Reconciles by kind and how they ended.", ("kind", "outcome"))
RECONCILE_SECONDS = Histogram(
    "relora_reconcile_seconds", "Time of one reconcile.", ("kind",), buckets=(0.002, 0.01, 0.05, 0.2, 1, 5, 30)
)
QUEUE_SECONDS = Histogram(
    "relora_queue_wait_seconds", "Time of a key on the queue.", ("kind",), buckets=(0.002, 0.01, 0.05, 0.2, 1, 5, 30)
)
QUEUE_LENGTH = Gauge("relora_queue_length", "Keys on the queue, by whether they wait for their time.", ("state",))
RESYNC_AGE = Gauge("relora_resync_age_seconds", "Time since the last complete comparison with the API server.")
REPAIRS = Counter("relora_resync_repairs_total", "Objects whose news only the resync brought.", ("resource",))
UNREADABLE = Gauge("relora_unreadable_objects", "Objects that this version cannot read.", ("resource",))

# A series that begins with its first event shows no increase for it, so these begin at 0.
for _step, _verdict in itertools.product(set().union(*STEPS.values()), Verdict):
    GATE_VERDICTS.labels(_step, _verdict)
for _outcome in ("Promoted", "RolledBack"):
    ROLLOUTS.labels(_outcome)


class ReleaseStates(Collector):
    """Reads what the statuses of accepted releases say, at each scrape.

    Args:
        releases: Returns the releases as they are now.
    """

    def __init__(self, releases: Callable[[], Iterable[BaseModelRelease]]) -> None:
        self._releases = releases

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield `relora_bindings`, `relora_release_halted` and `relora_release_stalled`, in this order."""
        names = ("model", "release")
        bindings = GaugeMetricFamily("relora_bindings", "Eligible bindings by state.", labels=(*names, "state"))
        halted = GaugeMetricFamily("relora_release_halted", "1 while the release is halted, else 0.", labels=names)
        stalled = GaugeMetricFamily(
            "relora_release_stalled", "1 while someone must act for the release.", labels=(*names, "reason")
        )
        for release in self._releases():
            counts, labels = release.status.bindings, (release.spec.model, release.metadata.name)
            if counts is None:
                continue
            for state, count in counts.model_dump(exclude={"eligible"}).items():
                bindings.add_metric((*labels, state), count)
            conditions = release.status.conditions
            halted.add_metric(labels, float(holds(conditions, ReleaseConditionType.HALTED)))
            lack = find(conditions, ReleaseConditionType.STALLED)
            if lack is not None and lack.status is ConditionStatus.TRUE:
                stalled.add_metric((*labels, lack.reason), 1)
        yield from (bindings, halted, stalled)


class ServerStates(Collector):
    """Counts the servers by what their statuses say, at each scrape.

    Args:
        servers: Returns the servers as they are now.
    """

    def __init__(self, servers: Callable[[], Iterable[AdapterServer]]) -> None:
        self._servers = servers

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield `relora_servers`; a server that the operator has not looked at yet is not in it."""
        family = GaugeMetricFamily(
            "relora_servers", "AdapterServers by the reason of their condition UpToDate.", labels=("model", "reason")
        )
        told = (
            (server.spec.model, find(server.status.conditions, ServerConditionType.UP_TO_DATE))
            for server in self._servers()
        )
        counts = collections.Counter((model, condition.reason) for model, condition in told if condition is not None)
        for labels, count in counts.items():
            family.add_metric(labels, count)
        yield family


def count_transition(old: Model, new: Model) -> None:
    """Count what a status that was just written says for the first time."""
    match old, new:
        case AdapterBindingStatus(), AdapterBindingStatus():
            _count_binding(old, new)
        case AdapterServerStatus(), AdapterServerStatus():
            _count_server(old, new)
        case _:
            pass


def _count_binding(old: AdapterBindingStatus, new: AdapterBindingStatus) -> None:
    before = _finished(old)
    for key, step in _finished(new).items():
        if key in before:
            continue
        if step.start_time and step.end_time and step.outcome and not _is_older(step.end_time, new.candidate):
            STEP_DURATION.labels(step.name, step.outcome).observe(_seconds(step.start_time, step.end_time))
        if step.verdict:
            GATE_VERDICTS.labels(step.name, step.verdict).inc()
    if (
        new.current
        and new.current.time_to_readiness_seconds is not None
        and (old.current is None or old.current.release_name != new.current.release_name)
    ):
        TIME_TO_READINESS.observe(new.current.time_to_readiness_seconds)


def _is_older(end_time: str, candidate: Candidate | None) -> bool:
    """Tell whether a step had ended before the attempt began, which found its report in the store."""
    began = candidate.start_time if candidate is not None else None
    return began is not None and _seconds(end_time, began) > 0


def _finished(status: AdapterBindingStatus) -> dict[tuple[str, str, str | None], StepStatus]:
    """Return the finished steps by what tells them apart: the next attempt keeps those that are done as they are."""
    candidate = status.candidate
    if candidate is None:
        return {}
    return {
        (candidate.request_digest, step.name, step.end_time): step
        for step in candidate.steps
        if step.state is StepState.FINISHED
    }


def _count_server(old: AdapterServerStatus, new: AdapterServerStatus) -> None:
    _count_rollouts(old, new)
    if old.fallback is not None and new.fallback is not None:
        _count_rollouts(old.fallback, new.fallback)


def _count_rollouts(old: AdapterServerStatus | FallbackSet, new: AdapterServerStatus | FallbackSet) -> None:
    if new.current and old.current and new.current.set_digest != old.current.set_digest:
        ROLLOUTS.labels("Promoted").inc()
    ROLLOUTS.labels("RolledBack").inc(sum(failed not in old.rolled_back for failed in new.rolled_back))


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

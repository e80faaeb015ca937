"""What the status of a binding or of a server keeps of its past, as a view."""

from pydantic import Field

from relora_contract.api.binding import AdapterBinding, BindingConditionType, Candidate, CurrentPair, StepStatus
from relora_contract.api.server import AdapterServer, CandidateSet, RolledBackSet, ServedSet, ServerConditionType
from relora_contract.model import Model
from relora_contract.report import MetricValue
from relora_kubectl.advice import Advice, advice
from relora_operator.core.attempts import active
from relora_operator.core.conditions import find
from relora_operator.core.times import moment, seconds_between


class Entry(Model):
    """One pair of a binding, or one set of a server."""

    record: str
    """`current`, `previous`, `earlier`, `superseded`, `candidate` or `rolled back`."""
    release_name: str
    digest: str | None = None
    """Of the pair's adapter or of the set; None while there is none."""
    adapters: int | None = None
    """How many adapters a set holds."""
    quality: list[MetricValue] = Field(default_factory=list)
    state: str = ""
    time: str | None = None
    """When it came to that state."""
    message: str = ""


class Step(Model):
    """One step of the candidate."""

    name: str
    state: str
    outcome: str | None = None
    verdict: str | None = None
    seconds: float | None = None
    alpha: str | None = None
    beta: str | None = None
    quality: list[MetricValue] = Field(default_factory=list)
    message: str = ""


class HistoryView(Model):
    """The past of one object, the newest first."""

    kind: str
    namespace: str
    name: str
    status: Advice | None = None
    """Reason and message of its condition UpToDate; None before the operator saw it."""
    entries: list[Entry]
    steps: list[Step] = Field(default_factory=list)


def binding_history(binding: AdapterBinding) -> HistoryView:
    """Return what a binding's status records: the candidate, what is and was in use, and what gave way."""
    status = binding.status
    entries = [_candidate(status.candidate)] if status.candidate is not None else []
    entries += [_pair("current", "Promoted", status.current)] if status.current is not None else []
    entries += [_pair("earlier", "Promoted", pair) for pair in status.history]
    entries += [_pair("superseded", "Passed", status.superseded)] if status.superseded is not None else []
    told = find(status.conditions, BindingConditionType.UP_TO_DATE)
    return HistoryView(
        kind=binding.resource.kind,
        namespace=binding.metadata.namespace,
        name=binding.metadata.name,
        status=advice(told.reason, told.message) if told is not None else None,
        entries=entries,
        steps=[_step(step) for step in status.candidate.steps] if status.candidate is not None else [],
    )


def server_history(server: AdapterServer) -> HistoryView:
    """Return what a server's status records: the set on its way, the present one, earlier ones, failed ones.

    What the fallback workload has for members that stayed behind follows, in the same order.
    """
    status = server.status
    entries = [_arriving(status.candidate)] if status.candidate is not None else []
    entries += [_served("current", status.current)] if status.current is not None else []
    entries += [_served("previous", status.previous)] if status.previous is not None else []
    entries += [_rolled_back(failed) for failed in reversed(status.rolled_back)]
    if status.fallback is not None:
        there = status.fallback
        entries += [_arriving(there.candidate, "fallback")] if there.candidate is not None else []
        entries += [_served("fallback", there.current)] if there.current is not None else []
        entries += [_rolled_back(failed, "fallback") for failed in reversed(there.rolled_back)]
    told = find(status.conditions, ServerConditionType.UP_TO_DATE)
    return HistoryView(
        kind=server.resource.kind,
        namespace=server.metadata.namespace,
        name=server.metadata.name,
        status=advice(told.reason, told.message) if told is not None else None,
        entries=entries,
    )


def _candidate(candidate: Candidate) -> Entry:
    attempt = f"attempt {candidate.attempt}"
    if candidate.adapter is not None:
        state, time = "Passed", candidate.passed_time
    elif candidate.reason is not None:
        state, time = candidate.reason, candidate.end_time
    elif active(candidate):
        state, time = "Running", candidate.start_time
    else:
        state, time = "Pending", candidate.end_time
    quality = [step.quality for step in candidate.steps if _is(step, candidate)]
    return Entry(
        record="candidate",
        release_name=candidate.release_name,
        digest=candidate.adapter.digest if candidate.adapter is not None else None,
        quality=quality[0] if quality else [],
        state=state,
        time=time,
        message=f"{attempt}: {candidate.message}" if candidate.message else attempt,
    )


def _is(step: StepStatus, candidate: Candidate) -> bool:
    return candidate.adapter is not None and step.adapter_digest == candidate.adapter.digest


def _pair(record: str, state: str, pair: CurrentPair) -> Entry:
    return Entry(
        record=record,
        release_name=pair.release_name,
        digest=pair.adapter.digest,
        quality=pair.quality,
        state=state,
        time=pair.promoted_time,
    )


def _step(step: StepStatus) -> Step:
    seconds = None
    if step.start_time is not None and step.end_time is not None:
        seconds = seconds_between(step.start_time, moment(step.end_time))
    return Step(
        name=step.name,
        state=step.state,
        outcome=step.outcome,
        verdict=step.verdict,
        seconds=seconds,
        alpha=step.alpha,
        beta=step.beta,
        quality=step.quality,
        message=": ".join(filter(None, (step.reason, step.message))),
    )


def _served(record: str, served: ServedSet) -> Entry:
    return Entry(
        record=record,
        release_name=served.release_name,
        digest=served.set_digest,
        adapters=served.adapters,
        state="Promoted",
        time=served.promoted_time,
    )


def _arriving(candidate: CandidateSet, record: str = "candidate") -> Entry:
    return Entry(
        record=record,
        release_name=candidate.release_name,
        digest=candidate.set_digest,
        adapters=candidate.adapters,
        state=candidate.state,
        time=candidate.start_time,
        message=candidate.message or "",
    )


def _rolled_back(failed: RolledBackSet, record: str = "rolled back") -> Entry:
    return Entry(
        record=record,
        release_name=failed.release_name,
        digest=failed.set_digest,
        state="RolledBack",
        time=failed.time,
        message=failed.message or "",
    )

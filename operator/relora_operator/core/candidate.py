"""The candidate of a binding: what its Jobs have brought so far, and when it gives way to another request."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from relora_contract.api.binding import (
    AdapterBinding,
    Candidate,
    CandidateSource,
    CurrentPair,
    ServerRef,
    StepState,
    StepStatus,
)
from relora_contract.api.meta import LocalRef
from relora_contract.artifacts import manifest_ref
from relora_contract.report import StepOutcome, Verdict
from relora_contract.task import Metric
from relora_operator.core.attempts import JobsOfRequest, jobs_of, retry_request
from relora_operator.core.judgement import Judgement, Standing
from relora_operator.core.lineage import Chain
from relora_operator.core.observed import JobView
from relora_operator.core.pairs import Pair, passed_pair, weights_ref
from relora_operator.core.reasons import Reason
from relora_operator.core.steps import done
from relora_operator.core.times import moment, seconds_between, timestamp
from relora_operator.core.work import ReadaptationWork, label_of


def opened(work: ReadaptationWork, jobs: Iterable[JobView], previous: Candidate | None) -> Candidate:
    """Return the candidate of a request that has none yet; `previous` is the one that gives way.

    A Job that exists for the very request is adopted: after a supersession that was taken back, or after a restore of
    the status from an older backup, nothing that ran is run again. Where only the gates are others, what its steps may
    have stored is judged by them first.
    """
    request, gates = label_of(work.request_digest), label_of(work.gates_digest)
    siblings = [job for job in jobs if job.request_digest_prefix == request]
    own = [job for job in siblings if job.kind == "readaptation" and job.gates_digest_prefix == gates]
    adopted = max(own, key=lambda job: job.attempt, default=None)
    same_request = previous is not None and previous.request_digest == work.request_digest
    taken = max(
        [job.attempt for job in siblings] + ([previous.attempt] if previous is not None and same_request else []),
        default=0,
    )
    if adopted is not None and adopted.attempt < taken:
        adopted = None
    began = previous is not None and (previous.attempt > 1 or previous.job_ref is not None)
    return Candidate(
        release_name=work.target.metadata.name,
        base=weights_ref(work.target),
        source=source_of(work.start),
        request_digest=work.request_digest,
        gates_digest=work.gates_digest,
        rejudging=same_request and began and adopted is None,
        image=work.image,
        steps=[StepStatus(name=name, state=StepState.PENDING) for name in work.plan.steps],
        attempt=adopted.attempt if adopted else taken + 1,
        job_ref=LocalRef(name=adopted.name) if adopted else None,
        start_time=timestamp(adopted.created_at) if adopted else None,
        retry_requested_at=retry_request(work.binding.metadata),
    )


def jobs_of_candidate(candidate: Candidate, jobs: Iterable[JobView]) -> JobsOfRequest:
    """Sort the Jobs of a binding; while stored outcomes are judged again, the Job that does so is the current one."""
    kind = "report" if candidate.rejudging else "readaptation"
    return jobs_of(candidate, jobs, kind=kind, gates_digest=candidate.gates_digest)


def source_of(start: Pair) -> CandidateSource:
    """Return the record of the pair that a re-adaptation starts from."""
    return CandidateSource(
        release_name=start.release, base_digest=start.base.digest, adapter_digest=start.adapter.digest
    )


def with_steps(
    candidate: Candidate, steps: Sequence[StepStatus], binding: AdapterBinding, store: str | None, now: datetime
) -> Candidate:
    """Record the steps, and the best adapter that passed its gate, in the store at `store` (None: not known now)."""
    recorded = candidate.model_copy(update={"steps": list(steps)})
    best = best_passed(steps, binding.spec.quality.gates[0].metric)
    if best is None or best.adapter_digest is None or store is None:
        return recorded
    if candidate.adapter is not None and candidate.adapter.digest == best.adapter_digest:
        return recorded
    first = next(step for step in steps if _passed(step))
    return recorded.model_copy(
        update={
            "adapter": manifest_ref(store, best.adapter_digest),
            "passed_time": candidate.passed_time or (None if candidate.rejudging else first.end_time) or timestamp(now),
        }
    )


def unfinished_reset(candidate: Candidate) -> Candidate:
    """Return the candidate with every step that is not done as if it had never run."""
    steps = [step if done(step) else StepStatus(name=step.name, state=StepState.PENDING) for step in candidate.steps]
    return candidate.model_copy(update={"steps": steps})


def to_compute(candidate: Candidate) -> Candidate:
    """Return the candidate for an attempt, where what is stored does not decide by the changed gates."""
    update = {"rejudging": False, "attempt": candidate.attempt + 1, "job_ref": None, "start_time": None}
    return candidate.model_copy(update=update)


def _passed(step: StepStatus) -> bool:
    return step.verdict is Verdict.PASSED and step.adapter_digest is not None


def best_passed(steps: Iterable[StepStatus], metric: Metric) -> StepStatus | None:
    """Return the passed step with the best value of `metric`; of equals the earliest, which may be in use already."""
    best: StepStatus | None = None
    for step in steps:
        if _passed(step) and (best is None or _score(step, metric) > _score(best, metric)):
            best = step
    return best


def _score(step: StepStatus, metric: Metric) -> float:
    for value in step.quality:
        if value.metric is metric:
            return -float(value.value) if metric is Metric.LOSS else float(value.value)
    return float("-inf")


def verdict_of(candidate: Candidate, judgement: Judgement) -> Judgement:
    """Refine the judgement of a Job that ended by what its gates said."""
    if any(_passed(step) for step in candidate.steps):
        return Judgement(standing=Standing.SUCCEEDED, reason=Reason.GATE_PASSED, message="a step passed its gate")
    if judgement.standing is not Standing.SUCCEEDED:
        return judgement
    judged = [step for step in candidate.steps if step.verdict is not None and step.outcome is StepOutcome.SUCCEEDED]
    if not judged:
        message = "every step ended, and none reported a verdict"
        return Judgement(standing=Standing.FAILED, reason=Reason.ADAPTATION_FAILED, message=message, retriable=True)
    last = judged[-1]
    reason = Reason.GATE_INCONCLUSIVE if last.verdict is Verdict.INCONCLUSIVE else Reason.GATE_FAILED
    measured = ", ".join(f"{value.metric} {value.value}" for value in last.quality)
    message = f"step {last.name}: gate {last.verdict}{f' at {measured}' if measured else ''}"
    return Judgement(standing=Standing.FAILED, reason=reason, message=message)


def gave_way(binding: AdapterBinding, chain: Chain) -> CurrentPair | None:
    """Return the record of a candidate's passed pair when the candidate gives way; else the one that is there."""
    pair = passed_pair(binding, chain)
    if pair is None:
        return binding.status.superseded
    return CurrentPair(
        release_name=pair.release,
        base=pair.base,
        adapter=pair.adapter,
        quality=list(pair.quality),
        readaptation_seconds=pair.seconds,
    )


def remembered(binding: AdapterBinding, current: CurrentPair | None, chain: Chain) -> list[CurrentPair]:
    """Return the earlier pairs when `current` comes into use: one for each release, and none of a withdrawn one."""
    status = binding.status
    before = [status.current] if status.current is not None else []
    kept: dict[str, CurrentPair] = {}
    for pair in (*before, *status.history):
        if not chain.withdrawn(pair.release_name):
            kept.setdefault(pair.release_name, pair)
    if current is not None:
        kept.pop(current.release_name, None)
    return list(kept.values())[: binding.spec.effective_revision_history_limit]


def promoted(
    pair: Pair, existing: CurrentPair | None, chain: Chain, *, server: ServerRef | None, now: datetime
) -> CurrentPair:
    """Return the record of a pair that is in use."""
    if existing is not None and (existing.release_name, existing.adapter.digest, existing.base.digest) == (
        pair.release,
        pair.adapter.digest,
        pair.base.digest,
    ):
        return existing if existing.server_ref == server else existing.model_copy(update={"server_ref": server})
    release = chain.known.get(pair.release)
    readiness = None
    if release is not None and pair.passed_time is not None:
        readiness = int(seconds_between(release.metadata.creation_timestamp, moment(pair.passed_time)))
    return CurrentPair(
        release_name=pair.release,
        base=pair.base,
        adapter=pair.adapter,
        quality=list(pair.quality),
        promoted_time=timestamp(now),
        server_ref=server,
        time_to_readiness_seconds=readiness,
        readaptation_seconds=pair.seconds,
    )

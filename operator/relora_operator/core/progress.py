"""What the Job of a binding's candidate has brought since the status was written."""

from dataclasses import dataclass
from datetime import datetime

from relora_contract.api.binding import AdapterBinding, Candidate
from relora_contract.api.profile import TrainerProfile
from relora_operator.core.attempts import active, add_active_seconds, assess, ended, look
from relora_operator.core.candidate import jobs_of_candidate, to_compute, verdict_of, with_steps
from relora_operator.core.judgement import Judgement, Standing
from relora_operator.core.lineage import Chain
from relora_operator.core.observed import JobView
from relora_operator.core.reasons import Reason
from relora_operator.core.snapshot import BindingSnapshot
from relora_operator.core.steps import done
from relora_operator.manifests.requests import store_uri

DEFAULT_START_DEADLINE_SECONDS = 3600
DEFAULT_MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The candidate as it is now."""

    candidate: Candidate | None = None
    judgement: Judgement | None = None
    """How the Job of the attempt stands; None when there is none, or it had ended before."""
    job: JobView | None = None
    """The Job of the attempt, or the one that judges stored outcomes, unless it is being deleted."""
    report: JobView | None = None
    """The report Job of the attempt."""


def profile_of(release_name: str, chain: Chain, snapshot: BindingSnapshot) -> TrainerProfile | None:
    """Return the profile by which the Jobs of a release run."""
    release = chain.known.get(release_name)
    return snapshot.profiles.get(release.spec.profile_ref.name) if release is not None else None


def follow(binding: AdapterBinding, snapshot: BindingSnapshot, chain: Chain, now: datetime) -> Progress:
    """Bring the candidate of `binding`, whose status may be newer than the snapshot's, up to date with its Jobs."""
    candidate = binding.status.candidate
    if candidate is None:
        return Progress()
    profile = profile_of(candidate.release_name, chain, snapshot)
    store = store_uri(profile, binding.metadata.namespace) if profile is not None else None
    jobs = jobs_of_candidate(candidate, snapshot.jobs)
    job = jobs.current if jobs.current is not None and not jobs.current.deleting else None
    if not active(candidate):
        return Progress(
            candidate=with_steps(candidate, candidate.steps, binding, store, now), job=job, report=jobs.report
        )
    steps = look(candidate, jobs, [step.name for step in candidate.steps], candidate.steps)
    deadline = profile.spec.effective_pre_running_deadline_seconds if profile else DEFAULT_START_DEADLINE_SECONDS
    judgement = assess(jobs, steps, start_deadline_seconds=deadline, now=now)
    if candidate.rejudging and not all(map(done, steps)):
        return _judging_again(candidate, job, judgement)
    candidate = with_steps(candidate, steps, binding, store, now)
    if judgement is not None and job is not None and judgement.standing in {Standing.SUCCEEDED, Standing.FAILED}:
        judgement = verdict_of(candidate, judgement)
        attempts = binding.spec.effective_readaptation.max_attempts or DEFAULT_MAX_ATTEMPTS
        candidate = ended(add_active_seconds(candidate, job), judgement, attempts, job.finished_at or now)
        candidate = candidate.model_copy(update={"rejudging": False})
    return Progress(candidate=candidate, judgement=judgement, job=job, report=jobs.report)


def _judging_again(candidate: Candidate, job: JobView | None, judgement: Judgement | None) -> Progress:
    """Return the progress of a Job that judges stored outcomes, as long as it has not told of every step.

    Nothing of it is recorded: with the next attempt, the missing is computed, and what is stored is told again.
    """
    if judgement is None:
        return Progress(candidate=candidate, job=job)
    waits = judgement.standing is Standing.ON_ITS_WAY and judgement.reason is not Reason.QUEUED  # no queue may hold it
    if not (waits or (job is not None and _is_seen_in_part(job))):
        return Progress(candidate=to_compute(candidate))
    if judgement.reason is not Reason.STARTING:
        message = "judging the stored outcomes by the changed gates"
        judgement = Judgement(standing=Standing.ON_ITS_WAY, reason=Reason.RUNNING, message=message)
    return Progress(candidate=candidate, judgement=judgement, job=job)


def _is_seen_in_part(job: JobView) -> bool:
    """Tell whether a Job is known to be complete and its pod's end is not: that comes by another watch."""
    return job.complete and any(one.exit_code is None for pod in job.pods for one in pod.containers)

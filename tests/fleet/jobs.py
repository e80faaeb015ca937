"""Jobs of the world: how they are created from manifests, and how a story lets their steps end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from fleet.builders import digest
from relora_contract.readaptation import Refine
from relora_contract.report import MetricValue, Notification, Step, StepOutcome, Verdict
from relora_contract.request import STEP_REQUEST, DeltaRequest, ReadaptationRequest
from relora_contract.task import Metric
from relora_contract.wellknown import (
    ANNOTATION_STEP_REQUEST,
    LABEL_ATTEMPT,
    LABEL_GATES,
    LABEL_JOB_KIND,
    LABEL_REQUEST,
)
from relora_operator.core.observed import ContainerView, JobView, PodView
from relora_operator.core.times import timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from fleet.world import World


@dataclass
class SimJob:
    """A Job with the request in its pod template."""

    view: JobView
    steps: tuple[str, ...]
    request_digest: str
    image: str
    base: str
    """Digest of the base that the Job makes something for."""
    always_refines: bool = False
    """Whether no step is skipped because an earlier one passed."""


@dataclass(frozen=True)
class StepEnd:
    """How a story lets a step end."""

    verdict: Verdict | None = None
    exit_code: int = 0
    adapter: str | None = None
    accuracy: str = "0.9"
    oom: bool = False
    seconds: float = 0
    """How long the step ran until it ended now."""


Script = Callable[[SimJob, str], StepEnd]


def all_pass(job: SimJob, step: str) -> StepEnd:
    """Every gate passes at the first look."""
    return StepEnd(verdict=Verdict.PASSED, adapter=f"{job.request_digest} {step}")


def gate_says(verdict: Verdict) -> Script:
    """Every gate says the same."""
    return lambda job, step: StepEnd(verdict=verdict, adapter=f"{job.request_digest} {step}", accuracy="0.5")


def exits(code: int, *, at_step: str = "port") -> Script:
    """A step ends with an exit code."""
    return lambda job, step: StepEnd(exit_code=code) if step == at_step else StepEnd(verdict=Verdict.FAILED)


def job_from(manifest: Mapping[str, Any], uid: str, resource_version: str, now: datetime) -> SimJob:
    """Read a manifest as the API server and the pods would."""
    metadata, template = manifest["metadata"], manifest["spec"]["template"]
    labels = metadata["labels"]
    request = STEP_REQUEST.validate_json(template["metadata"]["annotations"][ANNOTATION_STEP_REQUEST])
    containers = [*template["spec"]["initContainers"], *template["spec"]["containers"]]
    return SimJob(
        view=JobView(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=uid,
            resource_version=resource_version,
            kind=labels[LABEL_JOB_KIND],
            request_digest_prefix=labels[LABEL_REQUEST],
            gates_digest_prefix=labels.get(LABEL_GATES, ""),
            attempt=int(labels[LABEL_ATTEMPT]),
            owner_uid=metadata["ownerReferences"][0]["uid"],
            created_at=now,
            started_at=now,
            suspended=manifest["spec"].get("suspend", False),
        ),
        steps=tuple(container["name"] for container in containers),
        request_digest=(
            request.request_digest if isinstance(request, DeltaRequest) else request.items[0].request_digest
        ),
        image=containers[0]["image"],
        base=request.target_base.digest,
        always_refines=isinstance(request, ReadaptationRequest) and request.items[0].plan.refine is Refine.ALWAYS,
    )


def run(world: World, job: SimJob, script: Script = all_pass, *, lose_pod: bool = False) -> None:
    """Let a Job run to its end. Steps with a stored report end at once with what it says."""
    containers: list[ContainerView] = []
    failed: StepEnd | None = None
    for step in job.steps:
        if failed is not None:
            containers.append(ContainerView(name=step))
            continue
        notification, end = _step(world, job, step, script)
        containers.append(
            ContainerView(
                name=step,
                started_at=world.now - timedelta(seconds=end.seconds),
                finished_at=world.now,
                exit_code=end.exit_code,
                reason="OOMKilled" if end.oom else "Error" if end.exit_code else "Completed",
                notification=notification,
            )
        )
        failed = end if end.exit_code else None
    pod = PodView(
        name=f"{job.view.name}-x",
        uid=f"pod of {job.view.uid}",
        phase="Failed" if failed else "Succeeded",
        created_at=job.view.created_at,
        scheduled=True,
        containers=tuple(containers),
    )
    terminal = failed is not None and failed.exit_code in range(42, 47)
    job.view = replace(
        job.view,
        pods=() if lose_pod else (pod,),
        complete=failed is None,
        failed=failed is not None,
        failure_reason=None if failed is None else "PodFailurePolicy" if terminal else "BackoffLimitExceeded",
        finished_at=world.now,
    )


def _step(world: World, job: SimJob, name: str, script: Script) -> tuple[Notification | None, StepEnd]:
    step = cast("Step", name)
    passed = not job.always_refines and any(
        report.verdict is Verdict.PASSED
        for (request, _), report in world.reports.items()
        if request == job.request_digest
    )
    stored = world.reports.get((job.request_digest, step))
    if stored is not None and (passed or stored.outcome is not StepOutcome.SKIPPED):
        return stored, StepEnd()
    if job.view.kind == "report":
        outcome = StepOutcome.SKIPPED if passed else StepOutcome.MISSING
        return Notification(request_digest=job.request_digest, step=step, outcome=outcome), StepEnd()
    end = StepEnd() if passed else script(job, step)
    world.executed.append((job.request_digest, step))
    if end.exit_code:
        return None, end
    notification = Notification(
        request_digest=job.request_digest,
        step=step,
        outcome=StepOutcome.SKIPPED if passed else StepOutcome.SUCCEEDED,
        verdict=None if passed or step == "delta" else end.verdict,
        artifact_digest=None if passed else digest(end.adapter or f"{job.request_digest} {step}"),
        quality=[] if passed else [MetricValue(metric=Metric.ACCURACY, value=end.accuracy)],
        start_time=timestamp(world.now - timedelta(seconds=end.seconds)),
        end_time=timestamp(world.now),
    )
    world.reports[job.request_digest, step] = notification
    if notification.verdict is Verdict.PASSED and notification.artifact_digest is not None:
        world.passed.add((job.base, notification.artifact_digest))
    return notification, end

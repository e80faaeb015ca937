"""The shell around one step: stored report first, then the work, then the report, then the notification.

Nothing here imports torch: a step that finds its report stored, or has nothing to do, ends within a second.
"""

import errno
import importlib
import logging
import platform
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, cast

from safetensors import SafetensorError

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import model_digest
from relora_contract.exitcodes import ExitCode
from relora_contract.report import (
    GateEvidence,
    LearningCurve,
    MetricValue,
    ModuleFit,
    Notification,
    Probe,
    SplitUse,
    Step,
    StepOutcome,
    StepReport,
    Surface,
    Verdict,
)
from relora_contract.request import DeltaRequest, ReadaptationItem, ReadaptationRequest
from relora_contract.wellknown import TERMINATION_MESSAGE_LIMIT_BYTES
from relora_store.errors import StoreError
from relora_trainer.checkpoints import StepCheckpoints
from relora_trainer.errors import ConfigurationError, StoppedError, TemporaryError, TrainerError
from relora_trainer.pages import keep_page
from relora_trainer.ports import ArtifactStore, Checkpoints, Clock, Progress, StopSignal, Stopwatch
from relora_trainer.standing import digest_of, standing_reports, steps_of
from relora_trainer.workspace import Workspace

LOG = logging.getLogger(__name__)
VERSIONED = ("relora", "torch", "transformers", "peft", "botorch", "safetensors")
MESSAGE_LIMIT = 300
_LEAST_IMPORTANT: tuple[set[str], ...] = (set(), {"message"}, {"message", "quality"})


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step's own code returns; the shell adds times, versions and identity."""

    verdict: Verdict | None = None
    artifact: ArtifactRef | None = None
    training_state: ArtifactRef | None = None
    outcomes: ArtifactRef | None = None
    reference_outcomes: ArtifactRef | None = None
    alpha: str | None = None
    beta: str | None = None
    module_fit: ModuleFit | None = None
    probes: list[Probe] = field(default_factory=list)
    surface: Surface | None = None
    curve: LearningCurve | None = None
    quality: list[MetricValue] = field(default_factory=list)
    gates: list[GateEvidence] = field(default_factory=list)
    split_use: SplitUse | None = None
    optimizer_steps: int = 0
    captured_energy: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """Everything that a step's code may use."""

    request: DeltaRequest | ReadaptationRequest
    store: ArtifactStore
    work: Path
    """Folder that all steps of the pod share."""
    clock: Clock
    stopwatch: Stopwatch
    progress: Progress
    stop: StopSignal
    checkpoints: Checkpoints
    reports: Mapping[Step, StepReport] = field(default_factory=dict)
    """Reports of the earlier steps of the same request, judged by its gates."""

    @property
    def item(self) -> ReadaptationItem:
        """The adapter that the request is about."""
        return self.readaptation.items[0]

    @property
    def readaptation(self) -> ReadaptationRequest:
        """The request, when it is one for a re-adaptation."""
        if not isinstance(self.request, ReadaptationRequest):
            raise ConfigurationError("the request is for a delta; only the step `delta` can carry it out")
        return self.request

    @property
    def delta(self) -> DeltaRequest:
        """The request, when it is one for a delta."""
        if not isinstance(self.request, DeltaRequest):
            raise ConfigurationError("the request is for a re-adaptation; the step `delta` cannot carry it out")
        return self.request


class StepCode(Protocol):
    """The module of a step."""

    def run(self, context: StepContext) -> StepResult:
        """Carry the step out."""


def load_step(step: Step) -> StepCode:
    """Import the code of a step, and torch with it."""
    return cast("StepCode", importlib.import_module(f"relora_trainer.steps.{step}"))


@dataclass(frozen=True)
class Ended:
    """How a step ended."""

    exit_code: ExitCode
    notification: Notification
    report: StepReport | None = None
    page: str | None = None
    """URI of the page of the re-adaptation, once that has come to its end."""


def execute(
    step: Step,
    request: DeltaRequest | ReadaptationRequest,
    *,
    store: ArtifactStore,
    work: Path,
    clock: Clock,
    progress: Progress,
    stop: StopSignal,
    load: Callable[[Step], StepCode] = load_step,
) -> Ended:
    """Carry out one step of a request, once.

    A stored report ends the step at once, with the same outcome as the first time. A failure stores nothing: its
    exit code and notification say what happened, and a later attempt continues from the step's last checkpoint.
    """
    digest = digest_of(request)
    start = clock.now()
    try:
        if step not in steps_of(request):
            raise ConfigurationError(f"step {step!r} is not one of the request's: {', '.join(steps_of(request))}")
        standing = standing_reports(request, store, Workspace(work, store))
        if step in standing:
            LOG.info("step %s: nothing to do, the store has its outcome", step)
            store.checkpoints(digest, step).remove()
            return replace(ended(standing[step]), page=keep_page(request, standing, store))
        steps = steps_of(request)
        if lacking := [earlier for earlier in steps[: steps.index(step)] if earlier not in standing]:
            raise ConfigurationError(
                f"step {step!r} needs the report of {lacking[0]!r}, which is not stored: run it first"
            )
        stopwatch = Stopwatch(clock)
        checkpoints = StepCheckpoints(
            store.checkpoints(digest, step),
            work / f"{step}-checkpoint",
            clock=clock,
            stop=stop,
            versions=versions(),
        )
        context = StepContext(
            request=request,
            store=store,
            work=work,
            clock=clock,
            stopwatch=stopwatch,
            progress=progress,
            stop=stop,
            checkpoints=checkpoints,
            reports=standing,
        )
        try:
            result = load(step).run(context)
        except RuntimeError as error:
            _check_device_memory(error)
            raise
        except (OSError, SafetensorError) as error:
            _check_disk(error)
            raise
        except StoppedError as error:
            if not checkpoints.store():
                raise TemporaryError("stopped by SIGTERM, and the store did not take the last checkpoint") from error
            raise
        result = replace(result, warnings=[*checkpoints.warnings, *result.warnings])
        report = StepReport(
            request_digest=digest,
            gates_digest=request.items[0].gates_digest if isinstance(request, ReadaptationRequest) else None,
            step=step,
            outcome=StepOutcome.SUCCEEDED,
            seconds=stopwatch.seconds(),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            **_where(),
            versions=versions(),
            start_time=timestamp(start),
            end_time=timestamp(clock.now()),
            **vars(result),
        )
        stored = store.write_report(report)
        checkpoints.remove()
        return replace(ended(stored), page=keep_page(request, {**standing, step: stored}, store))
    except (TrainerError, StoreError) as error:
        return failed(step, digest, error.exit_code, str(error))


def _check_disk(error: OSError | SafetensorError) -> None:
    """Raise what the user can act on, when the step ended because its volume was full.

    Raises:
        TemporaryError: It was.
    """
    # Python says it by a number, safetensors in its text.
    if f"os error {errno.ENOSPC}" in str(error) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        raise TemporaryError(
            "the volume that the steps share is full: raise scratchSizeLimit of the TrainerProfile"
        ) from error


def _where() -> dict[str, Any]:
    """Return what a report tells of the device that a step has computed on."""
    from relora_trainer.hardware import described, peak_memory  # noqa: PLC0415 - the step has imported torch
    from relora_trainer.placement import choose_placement  # noqa: PLC0415 - as above

    placement = choose_placement()
    return {"machine": described(placement), "accelerator_peak_memory_bytes": peak_memory(placement.device)}


def _check_device_memory(error: RuntimeError) -> None:
    """Raise what the user can act on, when the step ended because a device's memory was full.

    Raises:
        ConfigurationError: It was.
    """
    from torch import OutOfMemoryError  # noqa: PLC0415 - the step that failed has imported torch

    if isinstance(error, OutOfMemoryError):
        raise ConfigurationError(
            "the accelerator's memory is too small for the base with one example: lower task.maxLength, or let the "
            "TrainerProfile ask for a larger one"
        ) from error


def ended(report: StepReport) -> Ended:
    """Return the successful end that a stored report stands for."""
    notification = Notification(
        request_digest=report.request_digest,
        step=report.step,
        outcome=report.outcome,
        verdict=report.verdict,
        artifact_digest=report.artifact.digest if report.artifact else None,
        alpha=report.alpha,
        beta=report.beta,
        quality=report.quality,
        reason=report.reason,
        message=report.message[:MESSAGE_LIMIT] if report.message else None,
        report_digest=model_digest(report),
        start_time=report.start_time,
        end_time=report.end_time,
    )
    return Ended(ExitCode.DONE, notification, report)


def failed(step: Step, digest: str, exit_code: ExitCode, message: str) -> Ended:
    """Return the end of a step that could not be carried out."""
    LOG.error("step %s failed (exit code %d): %s", step, exit_code, message)
    notification = Notification(
        request_digest=digest,
        step=step,
        outcome=StepOutcome.FAILED,
        reason="".join(word.capitalize() for word in exit_code.name.split("_")),
        message=message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…",
    )
    return Ended(exit_code, notification)


def missing(step: Step, digest: str) -> Ended:
    """Return what the report Job says of a step that has no stored report."""
    return Ended(ExitCode.DONE, Notification(request_digest=digest, step=step, outcome=StepOutcome.MISSING))


def termination_message(notification: Notification) -> str:
    """Return the notification as JSON of at most 1,536 bytes: without the message, then the metrics, if it must be."""
    for removed in _LEAST_IMPORTANT:
        text = notification.model_dump_json(by_alias=True, exclude_none=True, exclude=removed)
        if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT_BYTES:
            break
    return text


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC to the second, as the Kubernetes API writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def versions() -> dict[str, str]:
    """Return the versions of what the result may depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

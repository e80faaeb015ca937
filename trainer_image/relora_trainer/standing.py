"""What the store already says of a request: reports that stand, judged by the request's gates.

A report is written once, with the verdict of the gates of its time. When only the gates have changed since, the
stored outcomes are judged again; no model is loaded. A step after a passed gate has nothing to do and stores nothing,
so that stricter gates can still start it later.
"""

from collections.abc import Mapping
from typing import cast

from relora_contract.artifacts import ArtifactRef
from relora_contract.readaptation import Refine
from relora_contract.report import Step, StepOutcome, StepReport, Verdict
from relora_contract.request import DeltaRequest, ReadaptationItem, ReadaptationRequest
from relora_store.readings import Reading
from relora_trainer.errors import IntegrityError
from relora_trainer.ports import ArtifactStore
from relora_trainer.records import GATE_RECORD, read_outcomes
from relora_trainer.workspace import Workspace


def steps_of(request: DeltaRequest | ReadaptationRequest) -> tuple[Step, ...]:
    """Return the steps of a request, in order."""
    if isinstance(request, DeltaRequest):
        return ("delta",)
    return cast("tuple[Step, ...]", request.items[0].plan.steps)


def digest_of(request: DeltaRequest | ReadaptationRequest) -> str:
    """Return the digest that names the request's reports."""
    return request.request_digest if isinstance(request, DeltaRequest) else request.items[0].request_digest


def standing_reports(
    request: DeltaRequest | ReadaptationRequest, store: ArtifactStore, workspace: Workspace
) -> dict[Step, StepReport]:
    """Return the reports of the steps that need no work, up to the first that does."""
    reports: dict[Step, StepReport] = {}
    for step in steps_of(request):
        stored = store.read_report(digest_of(request), step)
        if stored is not None:
            reports[step] = _rejudged(step, stored, request, reports, workspace)
        elif _nothing_to_do(request, reports):
            reports[step] = _skipped(step, request, reports)
        else:
            break
    return reports


def ending_step(request: DeltaRequest | ReadaptationRequest, reports: Mapping[Step, StepReport]) -> Step | None:
    """Return the step whose result ended a re-adaptation. None: a step is left to do, or the request is for a delta.

    Args:
        request: The request.
        reports: Of its steps so far, in order, judged by its gates.
    """
    done = [step for step, report in reports.items() if report.outcome is StepOutcome.SUCCEEDED]
    if isinstance(request, DeltaRequest) or not done:
        return None
    return done[-1] if done[-1] == steps_of(request)[-1] or _nothing_to_do(request, reports) else None


def reference_of(reports: Mapping[Step, StepReport]) -> ArtifactRef:
    """Return the record of what the old adapter did on its own base, from the report of the step that measured it.

    Raises:
        IntegrityError: No report names it.
    """
    for report in reports.values():
        if report.reference_outcomes is not None:
            return report.reference_outcomes
    raise IntegrityError("no stored report has the reference outcomes of the old adapter")


def reading_of(item: ReadaptationItem, step: str) -> Reading:
    """Return what is recorded when the item's gates are asked about a step."""
    return Reading(
        test_digest=item.dataset.test.digest,
        request_digest=item.request_digest,
        step=step,
        gates_digest=item.gates_digest,
    )


def _rejudged(
    step: Step,
    stored: StepReport,
    request: DeltaRequest | ReadaptationRequest,
    earlier: Mapping[Step, StepReport],
    workspace: Workspace,
) -> StepReport:
    if isinstance(request, DeltaRequest) or stored.outcomes is None:
        return stored
    item = request.items[0]
    if stored.gates_digest == item.gates_digest:
        return stored
    # The gate's statistics take a moment to import, and most reports need none of them.
    from relora_trainer.gate import judge  # noqa: PLC0415

    use = workspace.store.note_reading(reading_of(item, step))
    reference = read_outcomes(workspace.state(reference_of({**earlier, step: stored})) / GATE_RECORD)
    outcomes = read_outcomes(workspace.state(stored.outcomes) / GATE_RECORD)
    verdict, gates = judge(item.gates, outcomes, reference, strategy=item.plan.strategy)
    judged = {"verdict": verdict, "gates": gates, "gates_digest": item.gates_digest, "split_use": use}
    return stored.model_copy(update=judged)


def _nothing_to_do(request: DeltaRequest | ReadaptationRequest, earlier: Mapping[Step, StepReport]) -> bool:
    if isinstance(request, DeltaRequest) or request.items[0].plan.refine is Refine.ALWAYS:
        return False
    return any(report.verdict is Verdict.PASSED for report in earlier.values())


def _skipped(step: Step, request: DeltaRequest | ReadaptationRequest, earlier: Mapping[Step, StepReport]) -> StepReport:
    ended = next(reversed(list(earlier.values()))).end_time
    return StepReport(
        request_digest=digest_of(request), step=step, outcome=StepOutcome.SKIPPED, start_time=ended, end_time=ended
    )

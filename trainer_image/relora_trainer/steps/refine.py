"""The refine step: stage 2, cosine schedule and weak anchor, eqs. 21-22 of arXiv 2606.02606.

It continues the training state of `recover`: factors, moments, batches; the anchor, where there is one, stays Θ_init.
"""

from dataclasses import replace

from relora_contract.report import Verdict
from relora_trainer.errors import ConfigurationError
from relora_trainer.execution import StepContext, StepResult
from relora_trainer.outcomes import Outcome, pair
from relora_trainer.paired import is_lower
from relora_trainer.records import MONITOR_RECORD, read_outcomes
from relora_trainer.staged import StagedTuning

OTHER_MACHINE = (
    "stage 1 was trained on another kind of device, with another number of threads or version of torch: on one machine "
    "the last bits of the adapter would be others"
)


def run(context: StepContext) -> StepResult:
    """Train stage 2. An adapter that passed earlier is replaced only by a better one."""
    recovered = context.reports["recover"]
    if recovered.training_state is None or recovered.outcomes is None:
        raise ConfigurationError("the stored report of recover has no training state")
    stage = StagedTuning(context, "refine")
    is_same = stage.tuner.restore(stage.work.workspace.state(recovered.training_state))
    stage.train(stage.tuner.schedule.total_steps)
    trained = StepResult(
        warnings=[] if is_same else [OTHER_MACHINE],
        optimizer_steps=stage.tuner.step_count - recovered.optimizer_steps,
        alpha=recovered.alpha,
        beta=recovered.beta,
        curve=stage.curve,
    )
    if recovered.verdict is Verdict.PASSED:
        before = read_outcomes(stage.work.workspace.state(recovered.outcomes) / MONITOR_RECORD)
        if not _is_better(stage.monitor(), before):
            warning = "not better than what recover published, by more than one standard error: not published"
            return replace(trained, warnings=[*trained.warnings, warning])
    judged = stage.work.judge_and_publish(stage.session, alpha=trained.alpha, beta=trained.beta)
    warnings = [*trained.warnings, *judged.warnings]
    return replace(judged, optimizer_steps=trained.optimizer_steps, curve=trained.curve, warnings=warnings)


def _is_better(new: list[Outcome], old: list[Outcome]) -> bool:
    pairs = pair(new, old)
    return is_lower(
        [mine.nll for mine, _ in pairs], [theirs.nll for _, theirs in pairs], [mine.tokens for mine, _ in pairs]
    )

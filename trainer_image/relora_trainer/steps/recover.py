"""The recover step: stage 1, constant learning rate and strong anchor, eqs. 18-20 of arXiv 2606.02606.

The strategies that are plain fine-tuning have no anchor; one that starts with this step measures the reference here.

It ends at E₁, or as soon as the monitor says twice that the adapter is as good as the old pair was.
"""

from dataclasses import replace

from relora_trainer.execution import StepContext, StepResult
from relora_trainer.records import MONITOR_RECORD, write_outcomes
from relora_trainer.staged import StagedTuning
from relora_trainer.tuning import Ending


def run(context: StepContext) -> StepResult:
    """Train stage 1 from the strategy's start, store the training state, and ask the gate."""
    stage = StagedTuning(context, "recover")
    if stage.train(stage.tuner.schedule.stage1_steps) is Ending.READY:
        stage.tuner.end_stage1()
    state = stage.publish_state()
    record = stage.work.scratch("recover-outcomes")
    write_outcomes(record / MONITOR_RECORD, stage.monitor())
    alpha, beta = stage.coefficients
    judged = stage.work.judge_and_publish(stage.session, alpha=alpha, beta=beta)
    return replace(judged, training_state=state, optimizer_steps=stage.tuner.step_count, curve=stage.curve)

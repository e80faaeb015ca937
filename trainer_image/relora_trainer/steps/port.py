"""The port step: the old adapter unchanged on the new base, (α, β) = (0, 1). This is PortLLM, arXiv 2410.10870.

As the first step of its strategies it also records what the old adapter does on its own base: the reference of every
later gate.
"""

from relora_trainer.execution import StepContext, StepResult
from relora_trainer.readapting import Readapting


def run(context: StepContext) -> StepResult:
    """Measure the reference, evaluate the old adapter on the new base, and publish it if it passes its gate.

    Raises:
        IncompatibleError: Bases, tokenizers and adapter do not fit together.
        DataError: The dataset does not fit the task.
        NonFiniteError: Weights or losses hold NaN or infinity.
    """
    work = Readapting(context, "port")
    session = work.open()
    session.lora.set_factors(work.adapter.factors)
    return work.judge_and_publish(session, alpha="0", beta="1")

"""The port step: the old adapter unchanged on the new base, (α, β) = (0, 1). This is PortLLM, arXiv 2410.10870.

It also records what the old adapter does on its own base: the reference of every later gate.
"""

from dataclasses import replace

from relora_trainer.execution import StepContext, StepResult
from relora_trainer.gate import power_warnings
from relora_trainer.readapting import Readapting, Reference
from relora_trainer.records import GATE_RECORD, MONITOR_RECORD, write_outcomes


def run(context: StepContext) -> StepResult:
    """Measure the reference, evaluate the old adapter on the new base, and publish it if it passes its gate.

    Raises:
        IncompatibleError: Bases, tokenizers and adapter do not fit together.
        DataError: The dataset does not fit the task.
        NonFiniteError: Weights or losses hold NaN or infinity.
    """
    work = Readapting(context, "port")
    adapter, parts = work.adapter, work.parts
    warnings = power_warnings(work.item.gates, len(parts.gate), strategy=work.item.plan.strategy)
    reference = _measure_reference(work)
    record = work.workspace.scratch("reference")
    write_outcomes(record / GATE_RECORD, reference.gate)
    write_outcomes(record / MONITOR_RECORD, reference.monitor)
    reference_outcomes = work.publish(record, "Outcomes")
    session = work.open(context.readaptation.target_base)
    session.lora.set_factors(adapter.factors)
    result = work.judge_and_publish(session, reference.gate, alpha="0", beta="1")
    return replace(result, reference_outcomes=reference_outcomes, warnings=warnings)


def _measure_reference(work: Readapting) -> Reference:
    session = work.open(work.context.readaptation.source_base)
    session.lora.set_factors(work.adapter.factors)
    return Reference(gate=work.evaluate(session, "gate"), monitor=work.evaluate(session, "monitor"))

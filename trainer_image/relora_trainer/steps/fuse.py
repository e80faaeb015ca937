"""The fuse step: search (α, β) for Θ_init(α, β) = α·Π_r(ΔΘ) + β·ΔΘ_i, eqs. 7-17 of arXiv 2606.02606.

Every probe evaluates the truncated candidate that would be trained and served. When no candidate is better than
(0, 1) by more than one paired standard error, the initialization is (0, 1) in balanced factors.
"""

import math
from dataclasses import replace

from relora_contract.readaptation import Interval, Plan
from relora_contract.report import Probe
from relora_trainer.decimals import decimal_text, optional_decimal
from relora_trainer.delta import Delta, open_delta
from relora_trainer.errors import ConfigurationError
from relora_trainer.execution import StepContext, StepResult
from relora_trainer.factor_files import write_factors
from relora_trainer.fusion import Fusion
from relora_trainer.items import ItemSet
from relora_trainer.readapting import Readapting
from relora_trainer.search import (
    PORT,
    Box,
    Candidate,
    Observation,
    Search,
    Stop,
    best,
    dump_history,
    is_better,
    load_history,
)
from relora_trainer.session import Session

HISTORY = "history.json"
TRAINING_COST = 2.5
"""Cost of a forward and a backward pass against a forward pass alone."""


def run(context: StepContext) -> StepResult:
    """Search the coefficients, store Θ_init, and ask the gate when it is better than the old adapter unchanged."""
    work = Readapting(context, "fuse")
    adapter = work.adapter
    delta = _delta(work)
    changes = delta.factors(adapter.factors)
    energy = delta.captured_energy(changes, work.ranks)
    fusion = Fusion(adapter.factors, changes)
    session = work.open()
    items = session.encoder.encode(work.parts.search)
    with context.stopwatch.part("search"):
        history = _search(work, session, fusion, items)
    winner = best(history)
    improved = is_better(winner, history[0])
    alpha, beta = (winner.alpha, winner.beta) if improved else PORT
    initial = fusion.candidate(alpha, beta)
    folder = work.scratch("fuse-init")
    write_factors(folder, initial)
    texts = (decimal_text(alpha), decimal_text(beta))
    found = StepResult(
        training_state=work.publish(folder, "TrainingState"),
        alpha=texts[0],
        beta=texts[1],
        probes=[_probe(observation) for observation in history],
        captured_energy={name: decimal_text(share) for name, share in energy.items()},
    )
    if not improved:
        return found
    session.lora.set_factors(initial)
    judged = work.judge_and_publish(session, alpha=texts[0], beta=texts[1])
    return replace(
        judged,
        training_state=found.training_state,
        probes=found.probes,
        captured_energy=found.captured_energy,
    )


def _delta(work: Readapting) -> Delta:
    ref = work.context.readaptation.delta
    if ref is None:
        raise ConfigurationError("the request names no delta, which the strategy ReLoRA needs")
    with work.context.stopwatch.part("load"):
        return open_delta(work.workspace.state(ref))


def _search(work: Readapting, session: Session, fusion: Fusion, items: ItemSet) -> list[Observation]:
    plan = work.item.plan
    path = work.checkpoint / HISTORY
    history = load_history(path.read_text()) if path.is_file() else []
    if not history:
        history = [_observe(work, session, fusion, items, Candidate(*PORT, len(items.items)))]
        _save(work, history)
    search = Search(
        Box(_interval(plan.alpha), _interval(plan.beta)),
        budget=plan.search_budget,
        items=len(items.items),
        seed=plan.seed,
        training_seconds=_training_seconds(plan, len(work.parts.train), history[0]),
        history=history,
    )
    while not isinstance(asked := search.ask(), Stop):
        search.tell(_observe(work, session, fusion, items, asked))
        _save(work, search.history)
        loss = best(search.history).loss.value
        work.context.progress.update("search", len(search.history), search.budget, f"best loss {loss:.4f}")
    return search.history


def _observe(work: Readapting, session: Session, fusion: Fusion, items: ItemSet, candidate: Candidate) -> Observation:
    clock = work.context.clock
    start = clock.monotonic()
    session.lora.set_factors(fusion.candidate(candidate.alpha, candidate.beta))
    nll, tokens = session.scorer.losses(items, candidate.items, lambda *_: work.context.stop.check())
    return Observation(candidate.alpha, candidate.beta, nll, tokens, clock.monotonic() - start)


def _save(work: Readapting, history: list[Observation]) -> None:
    (work.checkpoint / HISTORY).write_text(dump_history(history))
    if work.context.checkpoints.is_due():
        work.context.checkpoints.save()


def _training_seconds(plan: Plan, examples: int, port: Observation) -> float:
    """Estimate the time of both stages from the time of the first probe."""
    return plan.epochs * examples * TRAINING_COST * port.seconds / len(port.nll)


def _interval(interval: Interval) -> tuple[float, float]:
    return float(interval.min), float(interval.max)


def _probe(observation: Observation) -> Probe:
    loss = observation.loss
    error = loss.standard_error if math.isfinite(loss.standard_error) else 0.0
    return Probe(
        alpha=decimal_text(observation.alpha),
        beta=decimal_text(observation.beta),
        loss=decimal_text(loss.value),
        standard_error=decimal_text(error),
        count=loss.count,
        seconds=optional_decimal(observation.seconds) or "0",
    )

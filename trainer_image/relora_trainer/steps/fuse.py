"""The fuse step: search (α, β) for Θ_init(α, β) = α·Π_r(ΔΘ) + β·ΔΘ_i, eqs. 7-17 of arXiv 2606.02606.

Every probe evaluates the truncated candidate that would be trained and served. When no candidate is better than
(0, 1) by more than one paired standard error, the initialization is (0, 1) in balanced factors.

With `granularity: PerModule` a part of the search's budget and cost is kept for a fit of the coefficients of each
module, which starts at the best pair for all of them. What it finds is used when it is better than that pair and than
(0, 1), again by more than one paired standard error each. The step's α and β are then absent: no pair describes it.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from relora_contract.readaptation import Granularity, Interval, Plan, Refine
from relora_contract.report import Coefficients, ModuleFit, Probe, Surface
from relora_trainer.batching import TRAINING_COST
from relora_trainer.coefficient_fit import CoefficientFit, affordable_passes, probes_of
from relora_trainer.decimals import decimal_text, optional_decimal
from relora_trainer.delta import Delta, open_delta
from relora_trainer.errors import ConfigurationError, NonFiniteError
from relora_trainer.execution import StepContext, StepResult
from relora_trainer.factor_files import write_factors
from relora_trainer.factors import Factors
from relora_trainer.fusion import Fusion
from relora_trainer.items import ItemSet
from relora_trainer.optional import optional
from relora_trainer.outcomes import Outcome
from relora_trainer.paired import token_mean
from relora_trainer.readapting import Readapting
from relora_trainer.readiness import seems_ready
from relora_trainer.search import (
    COST_SHARE,
    MIN_SCREENING_ITEMS,
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

LOG = logging.getLogger(__name__)
LEAST_PROBES = {Granularity.GLOBAL: 4, Granularity.PER_MODULE: 7}
"""Full probes that must be affordable, those that a fit costs included; a probe reads no more examples than that."""
REJECTED = 3.0
"""How many times the loss of (0, 1) stands for one that is not finite, and one nat per token more."""
HISTORY = "history.json"
FIT = "fit.json"
NO_FIT = (
    "too little training, or too small a budget, for a fit of each module's coefficients: one pair was searched for all"
)


def run(context: StepContext, searcher: Callable[..., Search] = Search) -> StepResult:
    """Search the coefficients, store Θ_init, and ask the gate when it is better than the old adapter unchanged.

    Args:
        context: Of the step.
        searcher: Makes the search of a pair for all modules; called with the arguments of `Search`.
    """
    work = Readapting(context, "fuse")
    adapter = work.adapter
    delta = _delta(work)
    changes = delta.factors(adapter.factors)
    energy = delta.captured_energy(changes, work.ranks)
    fusion = Fusion(adapter.factors, changes, work.weights)
    session = work.open()
    items = session.encoder.encode(work.parts.search[: most_items(work.item.plan, len(work.parts.train))])
    coefficients = CoefficientSearch(work, session, fusion, items, searcher)
    with context.stopwatch.part("search"):
        search = coefficients.search()
        history = search.history
        surface = optional("the surface of the search", lambda: _surface(search))
        fitted = coefficients.fit(history)
    per_module = fitted is not None and fitted.is_used(history)
    winner, port = best(history), history[0]
    improved = per_module or is_better(winner, port)
    alpha, beta = (winner.alpha, winner.beta) if improved else PORT
    initial = fusion.mixed(fitted.coefficients) if fitted and per_module else fusion.candidate(alpha, beta)
    folder = work.scratch("fuse-init")
    write_factors(folder, initial)
    lacks_fit = work.item.plan.granularity is Granularity.PER_MODULE and not fitted
    texts = (None, None) if per_module else (decimal_text(alpha), decimal_text(beta))
    found = StepResult(
        training_state=work.publish(folder, "TrainingState"),
        alpha=texts[0],
        beta=texts[1],
        module_fit=_module_fit(fitted, used=per_module) if fitted else None,
        probes=[_probe(observation) for observation in history],
        surface=surface,
        captured_energy={name: decimal_text(share) for name, share in energy.items()},
        warnings=[*coefficients.warnings, *([NO_FIT] if lacks_fit else [])],
    )
    if not improved:
        return found
    session.lora.set_factors(initial)
    judged = work.judge_and_publish(session, alpha=texts[0], beta=texts[1])
    return replace(
        judged,
        training_state=found.training_state,
        module_fit=found.module_fit,
        probes=found.probes,
        surface=found.surface,
        captured_energy=found.captured_energy,
        warnings=found.warnings,
    )


def _delta(work: Readapting) -> Delta:
    ref = work.context.readaptation.delta
    if ref is None:
        raise ConfigurationError("the request names no delta, which the strategy ReLoRA needs")
    with work.context.stopwatch.part("load"):
        return open_delta(work.workspace.state(ref))


@dataclass(frozen=True)
class Fitted:
    """Coefficients of each module, and a full probe of the truncated candidate that they make.

    Attributes:
        coefficients: α_m and β_m by module.
        steps: Of the fit.
        seconds: Of the fit; the probe has its own.
        probe: Its α and β are the means.
    """

    coefficients: Mapping[str, tuple[float, float]]
    steps: int
    seconds: float
    probe: Observation

    def is_used(self, history: list[Observation]) -> bool:
        """Tell whether it is better than (0, 1) and than the best pair for all modules."""
        return is_better(self.probe, history[0]) and is_better(self.probe, best(history))


def lost_share(port: Observation, reference: Sequence[Outcome]) -> float:
    """Return the share of the old adapter's loss on the new base that it does not have on its own, in [0, 1].

    It stands for the share of both stages of training that is needed until the gate passes, where training ends: an
    update that costs an adapter little is repaired by a few steps, and a search must not take longer than those.
    """
    own = token_mean([outcome.nll for outcome in reference], [outcome.tokens for outcome in reference])
    if own.value >= port.loss.value:
        return 0.0
    return 1.0 - own.value / port.loss.value


def most_items(plan: Plan, examples: int) -> int:
    """Return how many examples a full probe may read, where there is little to train: a few probes must be affordable.

    Args:
        plan: Of the re-adaptation.
        examples: To train on.
    """
    return max(MIN_SCREENING_ITEMS, math.floor(_most_examples(plan, examples) / LEAST_PROBES[plan.granularity]))


def _most_examples(plan: Plan, examples: int) -> float:
    """Return the examples that a search may read at the most, its repetitions counted."""
    return COST_SHARE * TRAINING_COST * plan.epochs * examples


class CoefficientSearch:
    """The search of one adapter's coefficients; what it learns is kept in the step's checkpoints."""

    def __init__(
        self, work: Readapting, session: Session, fusion: Fusion, items: ItemSet, searcher: Callable[..., Search]
    ) -> None:
        self._work = work
        self._searcher = searcher
        self._plan = work.item.plan
        self._session = session
        self._fusion = fusion
        self._items = items
        self._box = Box(_interval(self._plan.alpha), _interval(self._plan.beta))
        self.warnings: list[str] = []
        """For the report."""

    def search(self) -> Search:
        """Search the pair for all modules, within what the fit leaves of budget and cost."""
        path = self._work.checkpoint / HISTORY
        history = load_history(path.read_text()) if path.is_file() else []
        if not history:
            history = [self._observe(Candidate(*PORT, len(self._items.items)), [])]
            self._save(history)
        reserved = probes_of(self._passes(history[0]))
        search = self._searcher(
            self._box,
            budget=max(1, math.floor(self._plan.search_budget - reserved)),
            items=len(self._items.items),
            seed=self._plan.seed,
            affordable=self._affordable(history[0]) - reserved,
            history=history,
        )
        while not isinstance(asked := search.ask(), Stop):
            search.tell(self._observe(asked, search.history))
            self._save(search.history)
            loss = best(search.history).loss.value
            self._work.context.progress.update("search", len(search.history), search.budget, f"best loss {loss:.4f}")
        if asked is Stop.UNKNOWN:
            self.warnings.append(f"no model can be fitted to the {len(search.history)} probes: the search ended early")
        return search

    def fit(self, history: list[Observation]) -> Fitted | None:
        """Fit the coefficients of each module, from the best pair on. None: the plan or its budget has no room."""
        passes = self._passes(history[0])
        if not passes:
            return None
        context, winner, path = self._work.context, best(history), self._work.checkpoint / FIT
        fit = CoefficientFit(
            self._session.model,
            self._fusion,
            self._items,
            self._box,
            start=(winner.alpha, winner.beta),
            passes=passes,
            seed=self._plan.seed,
        )
        if path.is_file():
            fit.restore(path)

        def after_step(loss: float) -> None:
            context.progress.update("fit", fit.step_count, fit.total_steps, f"loss {loss:.4f}")
            if context.checkpoints.is_due():
                fit.save(path)
                context.checkpoints.save()

        fit.run(clock=context.clock.monotonic, after_step=after_step)
        fit.save(path)
        coefficients = fit.coefficients()
        alpha, beta = (sum(side) / len(coefficients) for side in zip(*coefficients.values(), strict=True))
        candidate = Candidate(alpha, beta, len(self._items.items))
        probe = self._observe(candidate, history, self._fusion.mixed(coefficients))
        return Fitted(coefficients, fit.step_count, fit.seconds, probe)

    def _affordable(self, port: Observation) -> float:
        """Return how many full probes cost what search and fit may cost, of what training costs.

        Args:
            port: The probe of (0, 1), which tells how much there is to train.
        """
        plan, examples, reference = self._plan, len(self._work.parts.train), self._work.reference.monitor
        regains = plan.refine is Refine.WHEN_BELOW_GATE and seems_ready(self._work.item.gates, reference, reference)
        to_train = lost_share(port, reference) if regains else 1.0
        return to_train * _most_examples(plan, examples) / len(self._items.items)

    def _passes(self, port: Observation) -> int:
        if self._plan.granularity is not Granularity.PER_MODULE:
            return 0
        return affordable_passes(min(self._plan.search_budget, self._affordable(port)))

    def _observe(
        self, candidate: Candidate, history: Sequence[Observation], factors: Mapping[str, Factors] | None = None
    ) -> Observation:
        """Probe a candidate.

        Raises:
            NonFiniteError: The loss of the first one, (0, 1), is NaN or infinite. That of another is taken for a high
                one: in half precision the far corners of the box may overflow, and say nothing of the adapter.
        """
        clock, stop = self._work.context.clock, self._work.context.stop
        start = clock.monotonic()
        self._session.lora.set_factors(factors or self._fusion.candidate(candidate.alpha, candidate.beta))
        try:
            nll, tokens = self._session.scorer.losses(self._items, candidate.items, lambda *_: stop.check())
        except NonFiniteError as error:
            if not history:
                raise
            self.warnings.append(f"the loss at α = {candidate.alpha:g}, β = {candidate.beta:g} is not finite: {error}")
            LOG.warning("%s", self.warnings[-1])
            tokens = history[0].tokens[: candidate.items]
            finite = zip(history[0].nll[: candidate.items], tokens, strict=True)
            nll = tuple(REJECTED * value + count for value, count in finite)
            return Observation(candidate.alpha, candidate.beta, nll, tokens, clock.monotonic() - start, rejected=True)
        return Observation(candidate.alpha, candidate.beta, nll, tokens, clock.monotonic() - start)

    def _save(self, history: list[Observation]) -> None:
        (self._work.checkpoint / HISTORY).write_text(dump_history(history))
        if self._work.context.checkpoints.is_due():
            self._work.context.checkpoints.save()


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


def _surface(search: Search) -> Surface | None:
    found = search.surface()
    if found is None:
        return None
    return Surface(
        alpha=[decimal_text(value) for value in found.alpha.tolist()],
        beta=[decimal_text(value) for value in found.beta.tolist()],
        loss=[[_short(value) for value in row] for row in found.loss.tolist()],
        deviation=[[_short(value) for value in row] for row in found.deviation.tolist()],
    )


def _short(value: float) -> str:
    """Return four significant digits, which is more than a picture shows."""
    return decimal_text(float(f"{value:.4g}"))


def _module_fit(fitted: Fitted, *, used: bool) -> ModuleFit:
    loss = _probe(fitted.probe)
    return ModuleFit(
        coefficients={
            name: Coefficients(alpha=decimal_text(alpha), beta=decimal_text(beta))
            for name, (alpha, beta) in fitted.coefficients.items()
        },
        used=used,
        steps=fitted.steps,
        loss=loss.loss,
        standard_error=loss.standard_error,
        count=loss.count,
        seconds=decimal_text(fitted.seconds + fitted.probe.seconds),
    )

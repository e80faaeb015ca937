"""The quality gate: thresholds and paired non-inferiority, on the test examples.

A threshold bounds the point estimate: it is a number that the user chose, not a hypothesis. `maxRegression` is the
margin of a paired test against the old adapter on its own base, with the one-sided error level of 5 % shared over
the strategy's looks at the same test examples, one a step (Bonferroni). Of several bounds all must hold.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from scipy.stats import binomtest, norm, t

from relora_contract.readaptation import STEPS, Strategy
from relora_contract.report import GateEvidence, MetricValue, Verdict
from relora_contract.task import Gate, Metric
from relora_trainer.datasets import MAX_GATE_ITEMS
from relora_trainer.decimals import decimal_text, optional_decimal
from relora_trainer.errors import ConfigurationError
from relora_trainer.macro_f1 import check_macro_f1_sample, macro_f1, macro_f1_test, unchanged_needs
from relora_trainer.outcomes import Outcome, pair
from relora_trainer.paired import token_mean
from relora_trainer.paired_tests import Evidence, accuracy_test, check_loss_sample, items_needed, loss_test

ERROR_LEVEL = 0.05
INTERVAL_LEVEL = 0.95
EXPECTED_DISCORDANCE = 0.065
"""Share of examples on which a re-trained and an old adapter of equal quality disagree, as measured on two tasks."""
SHARES = (Metric.ACCURACY, Metric.EXACT_MATCH)

TESTS: Mapping[Metric, Callable[..., Evidence]] = {
    Metric.ACCURACY: accuracy_test,
    Metric.MACRO_F1: macro_f1_test,
    Metric.EXACT_MATCH: accuracy_test,
    Metric.LOSS: loss_test,
}


def level_of(strategy: Strategy) -> float:
    """Return the one-sided error level of one look at the test examples."""
    return ERROR_LEVEL / len(STEPS[strategy])


def measure(metric: Metric, outcomes: Sequence[Outcome]) -> MetricValue:
    """Return a metric with its 95 % interval: Wilson's for Accuracy and ExactMatch, Student's for Loss."""
    value, low, high = _interval(metric, outcomes)
    return MetricValue(
        metric=metric,
        value=decimal_text(value),
        low=optional_decimal(low),
        high=optional_decimal(high),
        count=len(outcomes),
    )


def judge(
    gates: Sequence[Gate], outcomes: Sequence[Outcome], reference: Sequence[Outcome] | None, *, strategy: Strategy
) -> tuple[Verdict, list[GateEvidence]]:
    """Return the verdict over all `gates`, and why.

    Passed if every gate passed, Failed if one failed, else Inconclusive.

    Args:
        gates: At least one.
        outcomes: What the adapter did on the test examples.
        reference: What the old adapter did on them on its own base. None if no gate has a `maxRegression`.
        strategy: It fixes how often the test examples can be looked at.

    Raises:
        ConfigurationError: A gate has a `maxRegression` and there is no reference.
        DataError: The reference was measured on other examples.
    """
    evidence = [_judge_one(gate, outcomes, reference, level_of(strategy)) for gate in gates]
    return _all_of([entry.verdict for entry in evidence]), evidence


def check_sample(gates: Sequence[Gate], labels: Sequence[int]) -> None:
    """Check, before anything is measured, that each test has the examples that it needs to keep its error level.

    Raises:
        DataError: There are too few.
    """
    for gate in gates:
        if gate.max_regression is not None and gate.metric is Metric.LOSS:
            check_loss_sample(len(labels))
        elif gate.max_regression is not None and gate.metric is Metric.MACRO_F1:
            check_macro_f1_sample(labels)


def power_warnings(gates: Sequence[Gate], labels: Sequence[int], *, strategy: Strategy) -> list[str]:
    """Say which margins are too narrow for the test examples.

    The share of examples on which two equally good adapters disagree is not known beforehand; a measured value of
    re-trained adapters is assumed. For MacroF1 it is said what an adapter needs whose answers are all right, as the old
    one's are. For Loss nothing can be said before the first measurement.

    Args:
        gates: Of the request.
        labels: Of the test examples.
        strategy: It fixes how often they can be looked at.
    """
    level, count = level_of(strategy), len(labels)
    warnings = []
    for gate in gates:
        margin = float(gate.max_regression or 0)
        if gate.metric is Metric.MACRO_F1 and margin and count < unchanged_needs(labels, margin=margin, level=level):
            warnings.append(
                f"{count} test examples are too few for maxRegression {gate.max_regression} of MacroF1: even where all "
                "answers are right, as the old adapter's, it is not passed; the rarest class decides: give it more"
            )
        if gate.metric not in SHARES or margin == 0:
            continue
        needed = items_needed(EXPECTED_DISCORDANCE, margin=margin, level=level)
        unchanged = math.ceil(float(norm.isf(level)) ** 2 * (1 - margin) / margin)
        if count < unchanged:
            warnings.append(
                f"{count} test examples are too few for maxRegression {gate.max_regression}: even an adapter that "
                f"answers each as the old one did needs {unchanged} to pass; {_enough(needed)}"
            )
        elif count < needed:
            power = float(norm.cdf(margin * math.sqrt(count / EXPECTED_DISCORDANCE) - norm.isf(level)))
            warnings.append(
                f"{count} test examples are few for maxRegression {gate.max_regression}: an adapter as good as the old "
                f"one passes with a probability of about {power:.0%}; {_enough(needed)}"
            )
    return warnings


def _enough(needed: int) -> str:
    """Tell what gives a power of 80%: more examples, unless a gate does not read so many."""
    if needed <= MAX_GATE_ITEMS:
        return f"about {needed} examples give a power of 80%"
    return f"a power of 80% would take {needed}, of which a gate reads {MAX_GATE_ITEMS}: allow a wider margin"


def _judge_one(
    gate: Gate, outcomes: Sequence[Outcome], reference: Sequence[Outcome] | None, level: float
) -> GateEvidence:
    value, low, high = _interval(gate.metric, outcomes)
    verdicts = []
    if gate.threshold is not None:
        threshold = float(gate.threshold)
        reached = value <= threshold if gate.metric is Metric.LOSS else value >= threshold
        verdicts.append(Verdict.PASSED if reached else Verdict.FAILED)
    test: Evidence | None = None
    if gate.max_regression is not None:
        if reference is None:
            raise ConfigurationError("maxRegression needs the outcomes of the old adapter on its own base")
        test = TESTS[gate.metric](pair(outcomes, reference), margin=float(gate.max_regression), level=level)
        verdicts.append(test.verdict)
    return GateEvidence(
        metric=gate.metric,
        verdict=_all_of(verdicts),
        threshold=gate.threshold,
        max_regression=gate.max_regression,
        level=decimal_text(level),
        value=decimal_text(value),
        low=optional_decimal(low) or decimal_text(value),
        high=optional_decimal(high) or decimal_text(value),
        reference=measure(gate.metric, reference).value if reference is not None else None,
        difference=decimal_text(test.difference) if test else None,
        statistic=optional_decimal(test.statistic) if test else None,
        count=len(outcomes),
        gained=test.gained if test else None,
        lost=test.lost if test else None,
        items_needed=test.items_needed if test else None,
    )


def _interval(metric: Metric, outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return point estimate, lower and upper limit; NaN where no interval is computed."""
    if metric in SHARES:
        result = binomtest(sum(outcome.correct for outcome in outcomes), len(outcomes))
        interval = result.proportion_ci(INTERVAL_LEVEL, method="wilson")
        return float(result.statistic), float(interval.low), float(interval.high)
    if metric is Metric.MACRO_F1:
        return macro_f1(outcomes), math.nan, math.nan
    loss = token_mean([outcome.nll for outcome in outcomes], [outcome.tokens for outcome in outcomes])
    half = float(t.isf((1 - INTERVAL_LEVEL) / 2, max(loss.count - 1, 1))) * loss.standard_error
    return loss.value, loss.value - half, loss.value + half


def _all_of(verdicts: Sequence[Verdict]) -> Verdict:
    if Verdict.FAILED in verdicts:
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PASSED

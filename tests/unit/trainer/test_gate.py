import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import norm

from relora_contract.readaptation import STEPS, Strategy
from relora_contract.report import Verdict
from relora_contract.task import Gate, Metric
from relora_trainer.datasets import MAX_GATE_ITEMS
from relora_trainer.decimals import decimal_text, optional_decimal
from relora_trainer.errors import ConfigurationError, DataError
from relora_trainer.gate import EXPECTED_DISCORDANCE, SHARES, check_sample, judge, level_of, measure, power_warnings
from relora_trainer.macro_f1 import macro_f1, macro_f1_test
from relora_trainer.outcomes import Outcome, pair
from relora_trainer.paired_tests import accuracy_test, items_needed, loss_test, tango_statistic

LEVEL = 0.05
DOCS = Path(__file__).parents[3] / "docs" / "readaptation.md"


def outcomes(correct: Sequence[bool], *, nll: float = 1.0) -> list[Outcome]:
    return [Outcome(str(index), 1, int(right), nll, 1) for index, right in enumerate(correct)]


def counted(both: int, gained: int, lost: int, neither: int) -> tuple[list[Outcome], list[Outcome]]:
    new = [True] * both + [True] * gained + [False] * lost + [False] * neither
    old = [True] * both + [False] * gained + [True] * lost + [False] * neither
    return outcomes(new), outcomes(old)


def losses(values: Sequence[float], tokens: Sequence[int]) -> list[Outcome]:
    return [Outcome(str(i), 0, 0, value, count) for i, (value, count) in enumerate(zip(values, tokens, strict=True))]


def gate(metric: Metric = Metric.ACCURACY, threshold: str | None = None, margin: str | None = None) -> Gate:
    return Gate(metric=metric, threshold=threshold, max_regression=margin)


class TestTango:
    @pytest.mark.parametrize(
        ("gained", "lost", "count", "margin"), [(12, 2, 50, 0.1), (30, 55, 1500, 0.02), (0, 9, 80, 0.05)]
    )
    def test_is_the_score_at_the_restricted_maximum_of_the_likelihood(
        self, gained: int, lost: int, count: int, margin: float
    ) -> None:
        def log_likelihood(p_lost: float) -> float:
            p_gained = p_lost - margin
            return float(
                xlogy(gained, p_gained) + xlogy(lost, p_lost) + xlogy(count - gained - lost, 1 - p_gained - p_lost)
            )

        found = minimize_scalar(
            lambda p: -log_likelihood(p), bounds=(margin, (1 + margin) / 2), method="bounded", options={"xatol": 1e-10}
        )
        variance = count * (2 * found.x - margin - margin**2)
        want = (gained - lost + count * margin) / math.sqrt(variance)
        assert tango_statistic(gained, lost, count, margin) == pytest.approx(want, rel=1e-4)

    def test_is_mcnemars_statistic_without_margin(self) -> None:
        assert tango_statistic(20, 10, 500, 0.0) == pytest.approx((20 - 10) / math.sqrt(30))

    def test_needs_enough_items_even_without_a_discordant_pair(self) -> None:
        critical, margin = float(norm.isf(0.0125)), 0.02
        enough = math.ceil(critical**2 * (1 - margin) / margin)
        assert tango_statistic(0, 0, enough, margin) >= critical
        assert tango_statistic(0, 0, enough - 2, margin) < critical

    def test_no_margin_and_no_discordance_is_undecided(self) -> None:
        assert tango_statistic(0, 0, 100, 0.0) == 0.0

    @pytest.mark.parametrize(
        ("count", "discordance", "margin"), [(300, 0.08, 0.02), (1000, 0.06, 0.02), (600, 0.15, 0.03)]
    )
    def test_keeps_its_level_at_the_margin(self, count: int, discordance: float, margin: float) -> None:
        rng = np.random.default_rng(1)
        gain, loss = (discordance - margin) / 2, (discordance + margin) / 2
        draws = rng.multinomial(count, [gain, loss, 1 - discordance], size=4000)
        statistics = np.array([tango_statistic(int(gained), int(lost), count, margin) for gained, lost, _ in draws])
        critical = norm.isf(LEVEL)
        assert 0.03 < (statistics >= critical).mean() < 0.065
        assert 0.03 < (statistics <= -critical).mean() < 0.065


class TestLoss:
    def test_keeps_its_level_at_the_margin(self) -> None:
        rng = np.random.default_rng(2)
        passed = 0
        for _ in range(700):
            tokens = rng.integers(1, 6, 256)
            old = rng.gamma(1.0, 1.0, 256) * tokens
            new = old + rng.standard_t(4, 256) * 0.15 * tokens + 0.02 * tokens
            pairs = pair(losses(new.tolist(), tokens.tolist()), losses(old.tolist(), tokens.tolist()))
            passed += loss_test(pairs, margin=0.02, level=LEVEL).verdict is Verdict.PASSED
        assert 0.03 < passed / 700 < 0.07

    def test_lower_is_better(self) -> None:
        tokens = [2, 3, 1, 4] * 50
        old = [float(count) for count in tokens]
        better = losses([value * 0.9 + 0.01 * (i % 3) for i, value in enumerate(old)], tokens)
        assert loss_test(pair(better, losses(old, tokens)), margin=0.0, level=LEVEL).verdict is Verdict.PASSED
        assert loss_test(pair(losses(old, tokens), better), margin=0.0, level=LEVEL).verdict is Verdict.FAILED

    def test_too_few_examples_are_refused(self) -> None:
        few = losses([1.0] * 99, [1] * 99)
        with pytest.raises(DataError, match="100 test examples; there are 99"):
            loss_test(pair(few, few), margin=0.1, level=LEVEL)

    def test_a_constant_rise_is_compared_with_the_margin_alone(self) -> None:
        old, new = losses([1.0] * 100, [1] * 100), losses([1.25] * 100, [1] * 100)
        assert loss_test(pair(new, old), margin=0.5, level=LEVEL).verdict is Verdict.PASSED
        assert loss_test(pair(new, old), margin=0.125, level=LEVEL).verdict is Verdict.FAILED
        assert loss_test(pair(new, old), margin=0.25, level=LEVEL).verdict is Verdict.INCONCLUSIVE


class TestMacroF1:
    @staticmethod
    def population(
        rng: np.random.Generator, count: int, *, worse: float, better: float
    ) -> list[tuple[Outcome, Outcome]]:
        labels = rng.integers(0, 6, count)
        old = np.where(rng.random(count) < 0.75, labels, rng.integers(0, 6, count))
        broken = (old == labels) & (rng.random(count) < worse)
        mended = (old != labels) & (rng.random(count) < better)
        new = np.where(broken, rng.integers(0, 6, count), np.where(mended, labels, old))
        return [
            (Outcome(str(i), int(label), int(n), 0.0, 1), Outcome(str(i), int(label), int(o), 0.0, 1))
            for i, (label, n, o) in enumerate(zip(labels, new, old, strict=True))
        ]

    def test_equals_the_textbook_definition(self) -> None:
        #           class 0: tp 1, fp 1, fn 1; class 1: tp 2, fp 1, fn 1
        rows = [(0, 0), (0, 1), (1, 1), (1, 1), (1, 0)]
        scored = [Outcome(str(i), label, prediction, 0.0, 1) for i, (label, prediction) in enumerate(rows)]
        assert macro_f1(scored) == pytest.approx((0.5 + 2 * 2 / 6) / 2)

    def test_keeps_about_its_level_at_the_margin(self) -> None:
        rng = np.random.default_rng(3)
        large = self.population(rng, 60_000, worse=0.08, better=0.10)
        margin = macro_f1([old for _, old in large]) - macro_f1([new for new, _ in large])
        assert margin > 0.01
        passed = 0
        for _ in range(50):
            sample = self.population(rng, 600, worse=0.08, better=0.10)
            passed += macro_f1_test(sample, margin=margin, level=LEVEL).verdict is Verdict.PASSED
        assert passed / 50 < 0.15

    def test_tells_better_from_worse(self) -> None:
        sample = self.population(np.random.default_rng(4), 1000, worse=0.0, better=0.5)
        assert macro_f1_test(sample, margin=0.0, level=LEVEL).verdict is Verdict.PASSED
        swapped = [(old, new) for new, old in sample]
        assert macro_f1_test(swapped, margin=0.0, level=LEVEL).verdict is Verdict.FAILED
        same = [(new, new) for new, _ in sample]
        assert macro_f1_test(same, margin=0.0, level=LEVEL).verdict is Verdict.INCONCLUSIVE
        assert macro_f1_test(same, margin=0.05, level=LEVEL).verdict is Verdict.PASSED

    def test_what_a_rare_class_needs_is_told(self) -> None:
        right = [Outcome(str(i), int(i < 10), int(i < 10), 0.0, 1) for i in range(600)]
        evidence = macro_f1_test([(one, one) for one in right], margin=0.02, level=0.0125)
        assert evidence.verdict is Verdict.INCONCLUSIVE
        assert 2000 < evidence.items_needed < 5000

    def test_losses_that_a_sample_may_miss_are_not_taken_for_none(self) -> None:
        labels, level, rate = [0, 1] * 300, 0.0125, 0.004
        margin = 1 - macro_f1([Outcome(str(i), i % 2, (i + (i < 8)) % 2, 0.0, 1) for i in range(2000)])
        assert margin == pytest.approx(rate, rel=0.01)
        rng, passed = np.random.default_rng(6), 0
        for _ in range(60):
            lost = rng.random(len(labels)) < rate
            pairs = [
                (Outcome(str(i), label, label ^ bool(is_lost), 0.0, 1), Outcome(str(i), label, label, 0.0, 1))
                for i, (label, is_lost) in enumerate(zip(labels, lost, strict=True))
            ]
            passed += macro_f1_test(pairs, margin=margin, level=level).verdict is Verdict.PASSED
        assert passed <= 3

    def test_too_few_examples_are_refused(self) -> None:
        sample = self.population(np.random.default_rng(5), 599, worse=0.1, better=0.1)
        with pytest.raises(DataError, match="600 test examples"):
            macro_f1_test(sample, margin=0.1, level=LEVEL)


class TestJudge:
    @pytest.mark.parametrize(
        ("gained", "lost", "verdict"),
        [(60, 40, Verdict.PASSED), (30, 55, Verdict.INCONCLUSIVE), (10, 150, Verdict.FAILED)],
    )
    def test_accuracy_verdicts(self, gained: int, lost: int, verdict: Verdict) -> None:
        new, old = counted(1000, gained, lost, 1500 - 1000 - gained - lost)
        overall, (evidence,) = judge([gate(margin="0.02")], new, old, strategy=Strategy.RELORA)
        assert overall is evidence.verdict is verdict
        assert (evidence.gained, evidence.lost, evidence.count) == (gained, lost, 1500)
        assert evidence.level == "0.0125"
        assert evidence.difference == decimal_text((gained - lost) / 1500)
        assert evidence.items_needed == math.ceil((2.2414 + 0.8416) ** 2 * (gained + lost) / 1500 / 0.02**2)

    def test_fewer_looks_leave_more_of_the_error_level(self) -> None:
        assert level_of(Strategy.RELORA) == pytest.approx(0.0125)
        assert level_of(Strategy.PORTLLM_FINE_TUNE) == pytest.approx(0.05 / 3)
        assert level_of(Strategy.SCRATCH) == pytest.approx(0.025)
        assert level_of(Strategy.PORTLLM) == pytest.approx(0.05)
        new, old = counted(1000, 45, 45, 410)
        assert judge([gate(margin="0.012")], new, old, strategy=Strategy.PORTLLM)[0] is Verdict.PASSED
        assert judge([gate(margin="0.012")], new, old, strategy=Strategy.RELORA)[0] is Verdict.INCONCLUSIVE

    @pytest.mark.parametrize(
        ("metric", "threshold", "verdict"),
        [
            (Metric.ACCURACY, "0.8", Verdict.PASSED),
            (Metric.ACCURACY, "0.8001", Verdict.FAILED),
            (Metric.LOSS, "1", Verdict.PASSED),
            (Metric.LOSS, "0.9999", Verdict.FAILED),
        ],
    )
    def test_a_threshold_bounds_the_point_estimate(self, metric: Metric, threshold: str, verdict: Verdict) -> None:
        scored = outcomes([True] * 80 + [False] * 20, nll=1.0)
        assert judge([gate(metric, threshold=threshold)], scored, None, strategy=Strategy.RELORA)[0] is verdict

    def test_a_threshold_is_not_reached_by_rounding(self) -> None:
        scored = [Outcome("a", 0, 0, 0.50000001, 1)]
        assert judge([gate(Metric.LOSS, threshold="0.5")], scored, None, strategy=Strategy.RELORA)[0] is Verdict.FAILED

    def test_both_bounds_must_hold(self) -> None:
        new, old = counted(1000, 60, 40, 400)
        verdict, _ = judge([gate(threshold="0.9", margin="0.02")], new, old, strategy=Strategy.RELORA)
        assert verdict is Verdict.FAILED

    def test_all_gates_must_pass(self) -> None:
        new, old = counted(1000, 60, 40, 400)
        verdict, evidence = judge(
            [gate(margin="0.02"), gate(Metric.LOSS, margin="0")], new, old, strategy=Strategy.RELORA
        )
        assert [entry.verdict for entry in evidence] == [Verdict.PASSED, Verdict.INCONCLUSIVE]
        assert verdict is Verdict.INCONCLUSIVE

    def test_a_margin_needs_a_reference(self) -> None:
        with pytest.raises(ConfigurationError, match="old adapter on its own base"):
            judge([gate(margin="0.02")], outcomes([True]), None, strategy=Strategy.RELORA)


def test_exact_match_is_judged_as_a_share() -> None:
    new, old = counted(1000, 60, 40, 400)
    judged = [judge([gate(metric, margin="0.02")], new, old, strategy=Strategy.RELORA) for metric in SHARES]
    assert judged[0][0] is judged[1][0] is Verdict.PASSED
    assert judged[0][1][0].statistic == judged[1][1][0].statistic
    assert len(power_warnings([gate(Metric.EXACT_MATCH, margin="0.005")], [0] * 5000, strategy=Strategy.RELORA)) == 1


def test_wilsons_interval_of_a_share() -> None:
    value = measure(Metric.ACCURACY, outcomes([True] * 81 + [False] * 19))
    p, n, z = 0.81, 100, 1.959964
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    want = ("0.81", decimal_text((centre - half) / (1 + z**2 / n)), decimal_text((centre + half) / (1 + z**2 / n)))
    assert (value.value, value.low, value.high) == want
    assert value.count == 100


def test_outcomes_are_paired_by_key_not_by_position() -> None:
    new, old = counted(3, 1, 0, 0)
    assert [old.correct for _, old in pair(new, list(reversed(old)))] == [True, True, True, False]


@pytest.mark.parametrize(
    "reference",
    [
        [Outcome("1", 1, 1, 1.0, 1)],
        [Outcome("0", 1, 1, 1.0, 1), Outcome("2", 1, 1, 1.0, 1)],
        [Outcome("0", 1, 1, 1.0, 1), Outcome("1", 1, 1, 1.0, 2)],
        [Outcome("0", 1, 1, 1.0, 1), Outcome("1", 0, 1, 1.0, 1)],
    ],
)
def test_a_reference_of_other_examples_tokens_or_labels_is_refused(reference: list[Outcome]) -> None:
    with pytest.raises(DataError, match="measured again"):
        pair(outcomes([True, True]), reference)


def test_a_margin_too_narrow_for_the_test_set_is_warned_about() -> None:
    (warning,) = power_warnings([gate(margin="0.005")], [0] * 5000, strategy=Strategy.RELORA)
    assert "5000 test examples are few for maxRegression 0.005" in warning
    assert "of which a gate reads 5000: allow a wider margin" in warning
    (warning,) = power_warnings([gate(margin="0.02")], [0] * 247, strategy=Strategy.RELORA)
    assert "passes with a probability of about" in warning
    (warning,) = power_warnings([gate(margin="0.02")], [0] * 246, strategy=Strategy.RELORA)
    assert "as the old one did needs 247 to pass; about 1545 examples give a power of 80%" in warning
    for count, verdict in ((247, Verdict.PASSED), (246, Verdict.INCONCLUSIVE)):
        same = outcomes([True] * count)
        assert judge([gate(margin="0.02")], same, same, strategy=Strategy.RELORA)[0] is verdict
    assert power_warnings([gate(margin="0.02")], [0] * 5000, strategy=Strategy.RELORA) == []
    rare = [0] * 590 + [1] * 10
    (warning,) = power_warnings([gate(Metric.MACRO_F1, margin="0.02")], rare, strategy=Strategy.RELORA)
    assert "the rarest class decides" in warning
    assert power_warnings([gate(Metric.MACRO_F1, margin="0.02")], [0, 1] * 300, strategy=Strategy.RELORA) == []
    assert power_warnings([gate(threshold="0.9")], [0] * 10, strategy=Strategy.RELORA) == []


@pytest.mark.parametrize(
    ("gates", "labels", "message"),
    [
        ([gate(Metric.LOSS, margin="0.1")], [0] * 99, "Loss with maxRegression needs 100"),
        ([gate(Metric.MACRO_F1, margin="0.1")], [0, 1] * 299, "MacroF1 with maxRegression needs 600"),
        ([gate(Metric.MACRO_F1, margin="0.1")], [0] * 600 + [1] * 9, "9 of the rarest class"),
    ],
)
def test_a_sample_too_small_for_its_test_is_refused_beforehand(
    gates: list[Gate], labels: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_sample(gates, labels)
    check_sample([gate(gates[0].metric, threshold="0.5"), gate(margin="0.1")], labels)
    check_sample(gates, [0, 1] * 300)


class TestWhatTheDocsSay:
    """Simulations of whole strategies: an adapter at the margin passes at most 5 % of the time, whatever the looks."""

    TRIALS = 2000

    def passes(self, rng: np.random.Generator, count: int, *, loss: float, gain: float, level: float) -> np.ndarray:
        """Return whether each of many looks at `count` test examples passes with margin 0.02."""
        draws = rng.multinomial(count, [gain, loss, 1 - gain - loss], size=self.TRIALS)
        critical = norm.isf(level)
        return np.array([tango_statistic(int(won), int(lost), count, 0.02) >= critical for won, lost, _ in draws])

    @pytest.mark.parametrize("strategy", Strategy)
    @pytest.mark.parametrize("discordance", [0.04, 0.1])
    def test_level(self, strategy: Strategy, discordance: float) -> None:
        rng = np.random.default_rng(7)
        gain, loss = (discordance - 0.02) / 2, (discordance + 0.02) / 2
        level = level_of(strategy)
        looks = [self.passes(rng, 1500, loss=loss, gain=gain, level=level) for _ in STEPS[strategy]]
        share = np.any(looks, axis=0).mean()  # independent looks are the worst case
        error = math.sqrt(0.05 * 0.95 / self.TRIALS)
        assert 0.02 < share < 0.05 + 3 * error

    @pytest.mark.parametrize("strategy", Strategy)
    def test_power(self, strategy: Strategy) -> None:
        level = level_of(strategy)
        margins = (0.01, 0.02, 0.03, 0.05)
        counts = [items_needed(EXPECTED_DISCORDANCE, margin=margin, level=level) for margin in margins]
        cells = [
            strategy,
            str(len(STEPS[strategy])),
            f"{100 * level:.2f} %",
            *(f"({count:,})" if count > MAX_GATE_ITEMS else f"{count:,}" for count in counts),
        ]
        assert f"| {' | '.join(cells)} |" in DOCS.read_text()
        count = counts[margins.index(0.02)]
        share = self.passes(
            np.random.default_rng(8), count, loss=EXPECTED_DISCORDANCE / 2, gain=EXPECTED_DISCORDANCE / 2, level=level
        ).mean()
        assert 0.77 < share < 0.84


def test_items_needed_give_the_promised_power() -> None:
    discordance, margin = 0.1, 0.03
    count = items_needed(discordance, margin=margin, level=LEVEL)
    rng = np.random.default_rng(6)
    draws = rng.multinomial(count, [discordance / 2, discordance / 2, 1 - discordance], size=300)
    passed = sum(
        accuracy_test(pair(*counted(count - gained - lost, gained, lost, 0)), margin=margin, level=LEVEL).verdict
        is Verdict.PASSED
        for gained, lost, _ in draws.tolist()
    )
    assert 0.72 < passed / 300 < 0.88


def test_decimals_fit_the_contract() -> None:
    assert [decimal_text(value) for value in (0.8125, 1e-7, -2.5, 12345678.0, 0.0)] == [
        "0.8125",
        "1e-07",
        "-2.5",
        "1.23457e07",
        "0",
    ]
    assert optional_decimal(math.inf) is None
    with pytest.raises(ValueError, match="no decimal form"):
        decimal_text(math.nan)


def test_macro_f1_can_be_a_gate_with_a_threshold() -> None:
    outcomes = [Outcome(str(index), index % 2, index % 2, 0.1, 1) for index in range(20)]
    verdict, (evidence,) = judge([gate(Metric.MACRO_F1, threshold="0.9")], outcomes, None, strategy=Strategy.PORTLLM)
    assert (verdict, evidence.value) == (Verdict.PASSED, "1")

"""The two stages of training: their curve, their steps, and what they recover with and without a search."""

import json
from typing import Any

import pytest

from relora_contract.exitcodes import ExitCode
from relora_contract.report import StepOutcome, Verdict
from relora_trainer.errors import NonFiniteError
from relora_trainer.outcomes import Outcome
from relora_trainer.scoring import Scorer
from relora_trainer.tuning import StepStatistics, Tuner
from samples.laptop_runs import Laptop


def test_training_records_its_curve_in_both_stages(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}])
    recover, refine = laptop.report("recover").curve, laptop.report("refine").curve
    assert recover is not None
    assert refine is not None
    total = laptop.report("recover").optimizer_steps + laptop.report("refine").optimizer_steps
    assert [*recover.steps, *refine.steps] == list(range(1, total + 1))
    assert 0 < float(recover.drift[0]) < float(recover.drift[-1])
    for curve, strength in ((recover, 1e-3), (refine, 1e-4)):
        drift = float(curve.drift[-1])
        assert float(curve.penalty[-1]) == pytest.approx(strength / 2 * drift**2, rel=1e-4)
        assert curve.looks
        assert curve.look_reference is not None
    assert float(refine.loss[-1]) < float(recover.loss[0])


def test_a_loss_that_is_not_finite_is_told_with_the_step(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    step, outcomes, trained = Tuner.step, Scorer.outcomes, []

    def counted(tuner: Tuner) -> StepStatistics:
        trained.append(tuner)
        return step(tuner)

    def diverged(*arguments: Any) -> list[Outcome]:  # noqa: ANN401 - those of the method
        if trained:
            raise NonFiniteError("the loss of 3 examples is NaN or infinite")
        return outcomes(*arguments)

    monkeypatch.setattr(Tuner, "step", counted)
    monkeypatch.setattr(Scorer, "outcomes", diverged)
    ended = laptop.run(gates=[{"metric": "Accuracy", "threshold": "1"}])
    assert ended.exit_code is ExitCode.NON_FINITE
    assert (ended.notification.message or "").startswith("after step 4 of the training: the loss of 3 examples")


def test_training_recovers_what_the_gate_asks_for(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Accuracy", "threshold": "0.9"}])
    assert laptop.report("port").verdict is Verdict.FAILED
    passed = [step for step in ("fuse", "recover", "refine") if laptop.report(step).verdict is Verdict.PASSED]
    assert passed, [laptop.report(step).quality for step in ("port", "fuse", "recover", "refine")]
    assert laptop.report(passed[0]).artifact is not None


def test_refine_always_trains_every_step_and_continues_where_recover_ended(laptop: Laptop) -> None:
    laptop.run(
        readaptation={
            "refine": "Always",
            "search": {"budget": 3},
            "tuning": {"batchSize": 8, "epochs": 2, "recoverFraction": "0.25"},
        }
    )
    train = len((laptop.root / "train.jsonl").read_text().splitlines())
    total = 2 * (train // 8)
    recover, refine = laptop.report("recover"), laptop.report("refine")
    assert recover.optimizer_steps == round(0.25 * total)
    assert recover.optimizer_steps + refine.optimizer_steps == total
    schedule = json.loads(laptop.stored(recover.training_state, "state.json"))["schedule"]
    assert (schedule["anchor_strong"], schedule["anchor_weak"]) == (1e-3, 1e-4)


@pytest.mark.parametrize(
    ("strategy", "steps"),
    [("PortLLMFineTune", ("port", "recover", "refine")), ("Scratch", ("recover", "refine"))],
)
def test_a_strategy_without_search_trains_without_a_delta(
    laptop: Laptop, strategy: str, steps: tuple[str, ...]
) -> None:
    tuning = {"batchSize": 8, "epochs": 6, "learningRate": "2e-2", "recoverFraction": "0.5"}
    run = {"readaptation": {"strategy": strategy, "tuning": tuning}}
    end = laptop.run(gates=[{"metric": "Accuracy", "threshold": "0.9", "maxRegression": "0.5"}], **run)
    assert end.exit_code is ExitCode.DONE
    assert tuple(laptop.ended) == steps
    reports = [laptop.report(step) for step in steps]
    assert [report.reference_outcomes is not None for report in reports] == [True] + [False] * (len(steps) - 1)
    assert Verdict.PASSED in [report.verdict for report in reports], [report.quality for report in reports]
    assert all(gate.reference is not None for report in reports for gate in report.gates)
    schedule = json.loads(laptop.stored(laptop.report("recover").training_state, "state.json"))["schedule"]
    assert (schedule["anchor_strong"], schedule["anchor_weak"]) == (0, 0)
    start = (None, None) if strategy == "Scratch" else ("0", "1")
    assert {(report.alpha, report.beta) for report in reports if report.verdict is not None} == {start}

    laptop.run(gates=[{"metric": "Accuracy", "threshold": "0"}], **run)
    first, *later = (laptop.report(step) for step in steps)
    assert first.verdict is Verdict.PASSED
    assert first.outcomes == reports[0].outcomes
    assert {report.outcome for report in later} <= {StepOutcome.SKIPPED, StepOutcome.SUCCEEDED}


def test_a_generative_task_is_trained_and_gated_by_its_answers(laptop: Laptop) -> None:
    laptop.run(
        task={"kind": "CausalLM", "promptTemplate": "{text}:", "completionField": "letter", "maxLength": 32},
        gates=[{"metric": "ExactMatch", "threshold": "0.6"}],
        readaptation={
            "strategy": "PortLLMFineTune",
            "tuning": {"batchSize": 8, "epochs": 16, "learningRate": "2e-2"},
        },
    )
    assert laptop.report("port").verdict is Verdict.FAILED
    reports = [laptop.report(step) for step in ("recover", "refine")]
    assert Verdict.PASSED in [report.verdict for report in reports], [report.quality for report in reports]
    assert [value.metric for value in reports[0].quality] == ["ExactMatch", "Loss"]

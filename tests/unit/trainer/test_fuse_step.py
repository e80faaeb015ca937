"""The search of the coefficients below the gate: one pair, a pair of each module, and how much it may cost."""

from typing import Any

import pytest

from relora_contract.exitcodes import ExitCode
from relora_contract.readaptation import Granularity, Plan
from relora_contract.report import StepOutcome, Verdict
from relora_trainer.errors import NonFiniteError
from relora_trainer.outcomes import Outcome
from relora_trainer.ports import StopSignal
from relora_trainer.scoring import Scorer
from relora_trainer.search import Observation
from relora_trainer.steps.fuse import lost_share, most_items
from samples.laptop import TARGETS
from samples.laptop_runs import Laptop


def test_below_the_gate_the_coefficients_are_searched(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}])
    assert laptop.report("port").verdict is Verdict.FAILED
    fuse = laptop.report("fuse")
    assert fuse.outcome is StepOutcome.SUCCEEDED
    assert (fuse.probes[0].alpha, fuse.probes[0].beta) == ("0", "1")
    assert fuse.training_state is not None
    assert fuse.surface is not None
    assert len(fuse.surface.loss) == len(fuse.surface.beta) == len(fuse.surface.deviation)
    assert set(fuse.captured_energy) == {
        f"model.layers.{layer}.self_attn.{target}" for layer in (0, 1) for target in TARGETS
    }
    stored = laptop.report("delta").captured_energy
    assert all(float(share) < float(stored[name]) for name, share in fuse.captured_energy.items())


def test_no_time_is_searched_where_little_was_lost(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Accuracy", "maxRegression": "0.01"}])
    assert laptop.report("port").verdict is Verdict.INCONCLUSIVE
    assert [(probe.alpha, probe.beta) for probe in laptop.report("fuse").probes] == [("0", "1")]
    lost = [Outcome("a", 0, 0, nll=2.0, tokens=4), Outcome("b", 0, 0, nll=1.0, tokens=2)]
    assert lost_share(Observation(0, 1, (4.0, 4.0), (2, 2), 1.0), lost) == 0.75  # from 0.5 to 2 nats a token
    assert lost_share(Observation(0, 1, (0.5, 0.5), (2, 2), 1.0), lost) == 0.0


def test_a_corner_that_overflows_is_rejected_and_the_search_goes_on(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Scorer.losses
    calls = 0

    def overflowing(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - those of the method
        nonlocal calls
        calls += 1
        if calls == 2:
            raise NonFiniteError("the loss of 3 examples is NaN or infinite")
        return losses(*arguments, **named)

    monkeypatch.setattr(Scorer, "losses", overflowing)
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}])
    rejected = laptop.report("fuse").probes[1]
    assert float(rejected.loss) > 3 * float(laptop.report("fuse").probes[0].loss)
    assert sum("is not finite" in warning for warning in laptop.report("fuse").warnings) == 1
    assert (laptop.report("fuse").alpha, laptop.report("fuse").beta) != (rejected.alpha, rejected.beta)


def test_little_training_gets_a_search_on_few_examples() -> None:
    plan = Plan(epochs=2)
    assert most_items(plan, 100) == 64
    assert most_items(plan, 1_000) == 312  # four probes of 0.25 · 2.5 · 2 · 1,000 examples
    assert most_items(plan, 10_000) > plan.validation_samples
    assert most_items(Plan(epochs=2, granularity=Granularity.PER_MODULE), 1_000) == 178  # a fit costs more probes


PER_MODULE = {
    "search": {"granularity": "PerModule", "budget": 8},
    "tuning": {"batchSize": 8, "epochs": 12, "learningRate": "2e-2"},
}


def test_coefficients_of_each_module_are_fitted_probed_and_reported(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=PER_MODULE)
    fuse = laptop.report("fuse")
    fit = fuse.module_fit
    assert fit is not None
    assert fit.coefficients.keys() == fuse.captured_energy.keys()
    assert all(0 <= float(pair.alpha) <= 1 and 0 <= float(pair.beta) <= 3 for pair in fit.coefficients.values())
    assert len({pair.beta for pair in fit.coefficients.values()}) > 1
    assert 0 < fit.steps <= laptop.heard.fit[-1][1]
    assert len(fuse.probes) <= 2  # a budget of 8 less two passes and the probe of the fit
    best = min(float(probe.loss) for probe in fuse.probes if probe.count == fit.count)
    assert fit.used
    assert float(fit.loss) < best
    assert (fuse.alpha, fuse.beta) == (None, None)
    assert fuse.artifact is not None
    assert laptop.report("recover").training_state is not None


def test_an_interrupted_fit_continues_where_it_stopped(laptop: Laptop) -> None:
    laptop.heard.stop_at = 1
    ended = laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=PER_MODULE)
    assert ended.exit_code is ExitCode.STOPPED
    laptop.heard.stop, laptop.heard.stop_at = StopSignal(), None
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=PER_MODULE)
    steps = [done for done, _ in laptop.heard.fit]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 1


def test_a_training_too_short_for_a_fit_gets_one_pair_and_a_warning(laptop: Laptop) -> None:
    short = {"search": PER_MODULE["search"], "tuning": {"batchSize": 8, "epochs": 1}}
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=short)
    fuse = laptop.report("fuse")
    assert fuse.module_fit is None
    assert any("too little training" in warning for warning in fuse.warnings)

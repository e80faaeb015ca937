"""Cells are measured once, and rows say what the cells hold."""

from pathlib import Path

import pytest

from bench.method import comparing
from bench.method.answers import mean_of, over_seeds, points
from bench.method.cells import Answers, Cell, Found, Recipe, recipe
from bench.method.cellset import CellSet
from bench.method.chain import HARD, MILD, Chain
from bench.method.plots import panels
from bench.method.variants import ABLATIONS, GATES, PORT, RELORA, SCRATCH, Key, order, readaptation
from bench.results import Row
from relora_contract.readaptation import plan
from relora_contract.report import Probe, Seconds, Step, StepOutcome, StepReport, Verdict

CHAIN = Chain("toy", HARD, Path("r1"), Path("r2"), Path("adapter"), Path("data"))
MACHINE = {"processor": "abacus"}
TRAINING_SECONDS = {"ReLoRA": "10", "PortLLM": "0", "PortLLMFineTune": "30", "Scratch": "90"}


def answers(correct: str, examples: str = "all") -> Answers:
    nll = [1.0 + index for index in range(len(correct))]
    return Answers(examples=examples, correct=correct, nll=nll, tokens=[2] * len(correct))


def report(step: Step, verdict: Verdict | None, *, train: str = "0", probes: int = 0) -> StepReport:
    probe = Probe(alpha="0", beta="1", loss="0.5", standard_error="0", count=64, seconds="1")
    return StepReport(
        request_digest=f"sha256:{'0' * 64}",
        step=step,
        outcome=StepOutcome.SUCCEEDED,
        verdict=verdict,
        probes=[probe] * probes,
        optimizer_steps=5,
        seconds=Seconds(load="1", search="1" if probes else "0", train=train),
        start_time="2026-01-01T00:00:00Z",
        end_time="2026-01-01T00:00:01Z",
    )


def cell(asked: Recipe, *, ready: bool = True) -> Cell:
    train = TRAINING_SECONDS.get(asked.variant, "10")
    verdict = Verdict.PASSED if ready else Verdict.FAILED
    last = report("refine", verdict, train="1000")
    reports = [report("port", Verdict.FAILED, probes=4), report("recover", verdict, train=train), last]
    found = Found(alpha=0, beta=1, nll=[0.5, 0.75], tokens=[1, 1])
    return Cell(
        recipe=asked, reports=reports, answers=answers("++-+"), reference=answers("++++"), found=found, machine=MACHINE
    )


def asked(variant: str, seed: int = 0) -> Recipe:
    return recipe(CHAIN, variant, readaptation(variant, seed=seed, epochs=1), GATES)


def finished(keys: list[Key], *, never: str = "") -> dict[Key, Cell]:
    return {key: cell(asked(key.variant, key.seed), ready=key.variant != never) for key in keys}


def rows(keys: list[Key], *, never: str = "") -> dict[str, Row]:
    return {row.name: row for row in comparing.rows(CellSet(finished(keys, never=never)), len(ALL), 0)}


ALL = order(["toy", "toy2"], [HARD, MILD], [0, 1], list(ABLATIONS))


def test_no_cell_is_measured_twice() -> None:
    assert len(set(ALL)) == len(ALL)


def test_an_interrupted_run_has_every_strategy_before_a_second_seed_and_that_before_an_ablation() -> None:
    seeds = [key.seed for key in ALL if key.update == HARD and key.variant not in ABLATIONS]
    assert seeds == sorted(seeds)
    first_ablation = min(index for index, key in enumerate(ALL) if key.variant in ABLATIONS)
    assert {(key.variant, key.seed) for key in ALL[:first_ablation] if key.update == HARD and key.variant != PORT} == {
        (name, seed) for name in TRAINING_SECONDS if name != PORT for seed in (0, 1)
    }


def test_every_variant_is_a_plan_of_its_own_or_a_search_of_the_bench() -> None:
    names = {key.variant for key in ALL}
    recipes = {asked(variant).digest for variant in names}
    assert len(recipes) == len(names)
    plans = {plan(readaptation(variant, seed=0, epochs=1)).model_dump_json() for variant in names}
    assert len(plans) == len(names) - 2, "the grid's and the paper's plans are that of ReLoRA"


def test_time_to_readiness_ends_with_the_step_that_passed() -> None:
    found = cell(asked("Scratch"))
    assert (found.seconds_to_readiness, found.steps_to_readiness) == (93, 10)
    assert cell(asked("Scratch"), ready=False).seconds_to_readiness == 1094


def test_times_of_two_machines_are_not_compared() -> None:
    cells = finished([Key("toy", HARD, seed, name) for seed in (0, 1) for name in (RELORA, SCRATCH)])
    moved = Key("toy", HARD, 1, SCRATCH)
    cells[moved] = cells[moved].model_copy(update={"machine": {"processor": "slide rule"}})
    assert "time to readiness, Scratch ÷ ReLoRA (1 pairs)" in {
        row.name for row in comparing.rows(CellSet(cells), len(ALL), 0)
    }


def test_the_rows_compare_the_cells() -> None:
    found = rows(ALL)
    assert found["re-adaptations measured"].value == len(ALL)
    ratio = found["time to readiness, Scratch ÷ ReLoRA (6 pairs)"]
    assert ratio.value == ratio.low == ratio.high == pytest.approx(93 / 13)
    assert ratio.met
    assert found["hard update: time to readiness, PortLLMFineTune ÷ ReLoRA (4 pairs)"].value == pytest.approx(33 / 13)
    assert found["toy, hard update: seconds until ready, ReLoRA"].value == 13
    assert found["toy, hard update: seconds until ready, ReLoRA"].unit == "s, 2 of 2 ready"
    assert found["toy, hard update: final accuracy, ReLoRA"].value == 75
    assert found["toy, hard update: accuracy of the old adapter on its own base"].value == 100
    assert found["toy, hard update: final accuracy, ReLoRA − Scratch, 2 seeds"].value == 0
    assert found["hard update: mean final accuracy, ReLoRA − Scratch, 2 tasks"].met is False
    assert found["final loss, ReLoRA − ReLoRA with no anchor, 2 tasks, 2 pairs"].value == 0
    assert found["search, full-probe equivalents, 6 searches"].value == 4
    assert found["loss at the pair found, ours − grid search's, in standard errors, 2 tasks"].met


def test_every_plot_finds_its_rows() -> None:
    names = list(rows(ALL))
    wanted = [
        begin
        for every in panels(["toy", "toy2"]).values()
        for panel in every
        for begins in panel.series.values()
        for begin in begins
    ]
    assert [begin for begin in wanted if not any(name.startswith(begin) for name in names)] == []


def test_an_unfinished_run_has_the_rows_of_what_is_there() -> None:
    found = rows([Key("toy", HARD, 0, RELORA), Key("toy", HARD, 0, SCRATCH)])
    assert found["re-adaptations measured"].value == 2
    assert "time to readiness, Scratch ÷ ReLoRA (1 pairs)" in found
    assert not any("FineTune" in name or "mild" in name for name in found)


def test_a_readiness_that_was_not_reached_is_said() -> None:
    assert "time to readiness, Scratch ÷ ReLoRA (6 pairs; never ready: 0 of ReLoRA, 6 of the other)" in rows(
        ALL, never=SCRATCH
    )


def test_an_interval_counts_examples_and_not_seeds() -> None:
    one, other = over_seeds([answers("++-+--+-")]), over_seeds([answers("+--+--+-")])
    twice = over_seeds([answers("++-+--+-")] * 2), over_seeds([answers("+--+--+-")] * 2)
    assert points(*twice) == points(one, other)
    assert points(one, other).value == 12.5


def test_the_mean_over_tasks_is_known_better_than_each() -> None:
    each = points(over_seeds([answers("++-+--+-")]), over_seeds([answers("+--+--+-")]))
    assert mean_of([each] * 4).value == each.value
    assert mean_of([each] * 4).standard_error == pytest.approx(each.standard_error / 2)


def test_answers_to_other_examples_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same examples"):
        points(over_seeds([answers("++")]), over_seeds([answers("++", examples="others")]))

"""Cells are measured once, and rows say what the cells hold."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.method import comparing
from bench.method.answers import accuracy_difference, correct_on_average
from bench.method.cells import Answers, Cell, Found, Recipe, recipe
from bench.method.cellset import CellSet
from bench.method.chain import HARD, MILD, Chain
from bench.method.plots import panels
from bench.method.searchers import PAPER
from bench.method.variants import (
    ABLATIONS,
    FINE_TUNE,
    GATES,
    PORT,
    RELORA,
    SCRATCH,
    STRATEGIES,
    Key,
    order,
    readaptation,
    until_ready,
)
from bench.results import Row
from relora_contract.readaptation import Refine, plan
from relora_contract.report import MetricValue, Probe, Seconds, Step, StepOutcome, StepReport, Verdict
from relora_contract.task import Metric

CHAIN = Chain("toy", HARD, Path("r1"), Path("r2"), Path("adapter"), Path("data"))
MACHINE = {"processor": "abacus"}
TRAINING_SECONDS = {RELORA: "10", PORT: "0", FINE_TUNE: "30", SCRATCH: "90"}
REFINING_SECONDS = "1000"
ZERO = f"sha256:{'0' * 64}"


def answers(correct: str, examples: str = "all") -> Answers:
    nll = [1.0 + index for index in range(len(correct))]
    return Answers(examples=examples, correct=correct, nll=nll, tokens=[2] * len(correct))


def probe(alpha: str, beta: str, loss: str = "0.5", count: int = 64) -> Probe:
    return Probe(alpha=alpha, beta=beta, loss=loss, standard_error="0", count=count, seconds="1")


PROBES = [probe("0", "1"), probe("0", "2", count=32), probe("0.25", "2", "0.25"), probe("1", "1", count=32)]


def report(step: Step, verdict: Verdict | None, *, train: str = "0", accuracy: str = "0.5") -> StepReport:
    fused = {"alpha": "0.25", "beta": "2", "probes": PROBES} if step == "fuse" else {}
    return StepReport.model_validate(
        {
            "request_digest": ZERO,
            "step": step,
            "outcome": StepOutcome.SUCCEEDED,
            "verdict": verdict,
            "quality": [MetricValue(metric=Metric.ACCURACY, value=accuracy)],
            "optimizer_steps": 5,
            "seconds": Seconds(load="1", search="4" if fused else "0", train=train),
            "start_time": "2026-01-01T00:00:00Z",
            "end_time": "2026-01-01T00:00:01Z",
            **fused,
        }
    )


def strategy_of(variant: str) -> str:
    return next(
        (name for name in STRATEGIES if until_ready(name) == variant), RELORA if variant in ABLATIONS else variant
    )


def cell(asked: Recipe, *, ready: bool = True, correct: str = "++-+") -> Cell:
    strategy = strategy_of(asked.variant)
    verdict = Verdict.PASSED if ready else Verdict.FAILED
    reports = [report("delta", None)] if strategy == RELORA else []
    if strategy != SCRATCH:
        reports.append(report("port", verdict if strategy == PORT else Verdict.FAILED))
    if strategy == RELORA:
        reports.append(report("fuse", Verdict.FAILED, accuracy="0.625"))
    if strategy != PORT:
        reports.append(report("recover", verdict, train=TRAINING_SECONDS[strategy]))
        if strategy == asked.variant or asked.variant in ABLATIONS:
            reports.append(report("refine", verdict, train=REFINING_SECONDS))
    return Cell(
        recipe=asked,
        reports=reports,
        answers=answers(correct),
        reference=answers("++++"),
        found=Found(alpha=0.25, beta=2, nll=[0.5, 0.75], tokens=[1, 1]) if strategy == RELORA else None,
        machine=MACHINE,
    )


def asked(variant: str, seed: int = 0) -> Recipe:
    return recipe(CHAIN, variant, readaptation(variant, seed=seed, epochs=1), GATES)


def finished(keys: list[Key], never: tuple[Key, ...] = ()) -> dict[Key, Cell]:
    return {key: cell(asked(key.variant, key.seed), ready=key not in never) for key in keys}


def rows_of(cells: Mapping[Key, Cell]) -> dict[str, Row]:
    return {row.name: row for row in comparing.rows(CellSet(cells), len(ALL), 0)}


ALL = order(["toy", "toy2"], [HARD, MILD], [0, 1], list(ABLATIONS), with_until_ready=True)


def test_no_cell_is_measured_twice() -> None:
    assert len(set(ALL)) == len(ALL)


def test_an_interrupted_run_has_every_strategy_before_a_second_seed_and_all_of_that_before_an_ablation() -> None:
    to_the_end = [key.seed for key in ALL if key.update == HARD and key.variant in STRATEGIES]
    assert to_the_end == sorted(to_the_end)
    kinds = [1 if strategy_of(key.variant) != key.variant else 0 for key in ALL if key.variant not in ABLATIONS]
    assert kinds == sorted(kinds), "what ends when it is ready comes after the further seeds"
    ablations = [key.variant in ABLATIONS for key in ALL]
    assert ablations == sorted(ablations)


def test_what_ends_when_it_is_ready_has_one_seed_on_every_task_and_update() -> None:
    names = {until_ready(strategy) for strategy in STRATEGIES}
    found = [key for key in ALL if key.variant in names]
    assert {(key.task, key.update, key.seed) for key in found} == {
        (task, update, 0) for task in ("toy", "toy2") for update in (HARD, MILD)
    }
    assert len(found) == 12
    without = order(["toy"], [HARD], [0], [], with_until_ready=False)
    assert not names & {key.variant for key in without}


def test_every_variant_is_a_plan_of_its_own_or_a_search_of_the_bench() -> None:
    names = {key.variant for key in ALL}
    recipes = {asked(variant).digest for variant in names}
    assert len(recipes) == len(names)
    plans = {plan(readaptation(variant, seed=0, epochs=1)).model_dump_json() for variant in names}
    assert len(plans) == len(names) - 2, "the grid's and the paper's plans are that of ReLoRA"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_ends_when_it_is_ready_differs_in_nothing_else(strategy: str) -> None:
    to_the_end = readaptation(strategy, seed=1, epochs=2)
    bound = readaptation(until_ready(strategy), seed=1, epochs=2)
    assert bound.refine is None
    assert bound.model_copy(update={"refine": Refine.ALWAYS}) == to_the_end


def test_a_recipe_asks_the_same_of_another_trainer_and_not_of_another_gate() -> None:
    mine = asked(RELORA)
    assert mine.asks_as(mine.model_copy(update={"code": "other", "threads": 99, "inputs": ["elsewhere"]}))
    assert not mine.asks_as(mine.model_copy(update={"gates": []}))
    assert not mine.asks_as(asked(RELORA, seed=1))
    assert not mine.asks_as(asked(SCRATCH))


def test_time_to_readiness_ends_with_the_step_that_passed() -> None:
    found = cell(asked(SCRATCH))
    assert (found.seconds_to_readiness, found.steps_to_readiness, found.seconds) == (91, 5, 1092)
    never = cell(asked(SCRATCH), ready=False)
    assert (never.seconds_to_readiness, never.steps_to_readiness, never.seconds) == (None, None, 1092)


def test_times_of_two_machines_are_not_compared() -> None:
    cells = finished([Key("toy", HARD, seed, name) for seed in (0, 1) for name in (RELORA, SCRATCH, PORT)])
    moved = Key("toy", HARD, 1, SCRATCH)
    cells[moved] = cells[moved].model_copy(update={"machine": {"processor": "slide rule"}})
    found = rows_of(cells)
    assert "time to readiness, Scratch ÷ ReLoRA, at the ends of steps, both ready in 1 of 1 pair, 1 task" in found
    assert "seconds of all steps, Scratch ÷ ReLoRA, 1 pair, 1 task" in found


def test_times_to_readiness_are_of_the_cells_that_end_there() -> None:
    found = rows_of(finished(ALL))
    ratio = found["time to readiness, Scratch ÷ ReLoRA, both ready in 4 of 4 pairs, 2 tasks"]
    assert ratio.value == ratio.low == ratio.high == pytest.approx(91 / 18)
    assert (ratio.target, ratio.met) == ("≥ 5", True)
    at_the_ends = found[
        "time to readiness, Scratch ÷ ReLoRA, at the ends of steps, both ready in 6 of 6 pairs, 2 tasks"
    ]
    assert at_the_ends.value == pytest.approx(91 / 18)
    assert at_the_ends.target is None
    on_hard = found["hard update: time to readiness, PortLLMFineTune ÷ ReLoRA, both ready in 2 of 2 pairs, 2 tasks"]
    assert on_hard.value == pytest.approx(32 / 18)
    shared = "time to readiness, Scratch ÷ ReLoRA, both ready in 4 of 4 pairs, 2 tasks, the delta shared by 2 adapters"
    assert found[shared].value == pytest.approx(91 / 17.5)
    slower = found["ReLoRA slower than PortLLMFineTune with every seed, of 4 tasks and updates"]
    assert (slower.value, slower.met) == (0, True)
    seconds = "toy, hard update: seconds until ready, ReLoRA"
    assert found[seconds].value == 18
    assert found[f"{seconds}: ready, 1 seed"].value == 100
    assert found[f"{seconds}: optimizer steps"].value == 20


def test_what_was_never_ready_is_counted_and_not_timed() -> None:
    never = tuple(
        Key("toy", update, 0, until_ready(name)) for update, name in ((HARD, SCRATCH), (MILD, SCRATCH), (MILD, RELORA))
    )
    found = rows_of(finished(ALL, never))
    ratio = found["time to readiness, Scratch ÷ ReLoRA, both ready in 2 of 4 pairs, 1 task"]
    assert ratio.value == pytest.approx(91 / 18)
    assert found["ready: ReLoRA alone, not Scratch, of 4 pairs"].value == 1
    assert found["ready: Scratch alone, not ReLoRA, of 4 pairs"].value == 0
    assert found["ready: PortLLMFineTune alone, not ReLoRA, of 4 pairs"].value == 1
    seconds = found["toy, hard update: seconds until ready, Scratch"]
    assert seconds.value is None
    assert found["toy, hard update: seconds until ready, Scratch: ready, 1 seed"].value == 0
    assert "toy, hard update: seconds until ready, Scratch: optimizer steps" not in found
    slower = found["ReLoRA slower than PortLLMFineTune with every seed, of 4 tasks and updates"]
    assert (slower.value, slower.met) == (1, False)


def test_a_place_where_the_other_was_never_ready_cannot_be_slower() -> None:
    never = (Key("toy", HARD, 0, until_ready(FINE_TUNE)),)
    found = rows_of(finished(ALL, never))
    assert found["ReLoRA slower than PortLLMFineTune with every seed, of 3 tasks and updates"].value == 0


def test_without_a_pair_that_got_ready_nothing_is_decided() -> None:
    keys = [Key("toy", HARD, 0, until_ready(name)) for name in (RELORA, SCRATCH)]
    ratio = rows_of(finished(keys, (keys[1],)))[
        "time to readiness, Scratch ÷ ReLoRA, both ready in 0 of 1 pair, 0 tasks"
    ]
    assert (ratio.value, ratio.target, ratio.met) == (None, "≥ 5", None)


def test_a_ready_median_is_that_of_the_ready_ones() -> None:
    found = rows_of(finished(ALL, (Key("toy", HARD, 0, SCRATCH),)))
    seconds = "toy, hard update: seconds until ready, at the ends of steps, Scratch"
    assert found[seconds].value == 91
    assert found[f"{seconds}: ready, 2 seeds"].value == 50


def test_every_task_and_update_has_the_same_weight_however_many_seeds_it_has() -> None:
    keys = [Key("toy", HARD, seed, name) for seed in (0, 1, 2) for name in (RELORA, SCRATCH)]
    keys += [Key("toy", MILD, 0, name) for name in (RELORA, SCRATCH)]
    cells = finished(keys)
    for key in (Key("toy", MILD, 0, SCRATCH), Key("toy", MILD, 0, RELORA)):
        slow = [replaced.model_copy(update={"seconds": Seconds(train="1000")}) for replaced in cells[key].reports]
        cells[key] = cells[key].model_copy(update={"reports": slow})
    found = rows_of(cells)
    ratio = found["time to readiness, Scratch ÷ ReLoRA, at the ends of steps, both ready in 4 of 4 pairs, 1 task"]
    assert ratio.value == pytest.approx((91 + 1000) / (18 + 4000))
    assert ratio.low is None, "one task has no interval"


def test_the_rows_compare_the_final_adapters() -> None:
    found = rows_of(finished(ALL))
    assert found["re-adaptations measured"].value == len(ALL)
    assert found["toy, hard update: final accuracy, ReLoRA, 2 seeds"].value == 75
    assert found["toy, hard update: accuracy of the old adapter on its own base"].value == 100
    difference = found["toy, hard update: final accuracy, ReLoRA − Scratch, 2 seeds"]
    assert (difference.value, difference.target, difference.met) == (0, "≥ -0.5", True)
    one = "toy, mild update: final accuracy, ReLoRA − Scratch, 1 seed: the noise of training is not in the interval"
    assert found[one].value == 0
    better = found["hard update: mean final accuracy, ReLoRA − Scratch, 2 tasks"]
    assert (better.target, better.met) == ("> 0", False)
    ablation = found["final loss, ReLoRA − ReLoRA with no anchor, 2 tasks, hard update, 1 seed each"]
    assert (ablation.value, ablation.unit) == (0, "nats/token")


def test_a_mean_of_one_task_decides_nothing() -> None:
    found = rows_of(finished([Key("toy", HARD, 0, name) for name in (RELORA, SCRATCH)]))
    row = found["hard update: mean final accuracy, ReLoRA − Scratch, 1 task"]
    assert (row.value, row.low, row.target, row.met) == (0, None, None, None)


def test_the_rows_say_what_each_variant_costs() -> None:
    found = rows_of(finished(ALL))
    assert found["seconds of all steps, Scratch ÷ ReLoRA, 6 pairs, 2 tasks"].value == pytest.approx(1092 / 1019)
    assert found["seconds of all steps, PortLLM ÷ ReLoRA, 4 pairs, 2 tasks"].value == pytest.approx(1 / 1019)
    searched = "seconds of the search against those of the training"
    for who in ("ReLoRA", "ReLoRA with grid search"):
        assert found[f"{searched}, {who}, 2 tasks"].value == pytest.approx(100 * 4 / 1010)
    shares = {
        part: found[f"of the seconds of all steps of ReLoRA: {part}, 2 tasks"].value for part in Seconds.model_fields
    }
    assert shares["train"] == pytest.approx(100 * 1010 / 1019)
    assert sum(value or 0 for value in shares.values()) == pytest.approx(100)


def test_a_search_that_another_seed_repeats_is_counted_once() -> None:
    found = rows_of(finished(ALL))
    cost = found["search, full-probe equivalents, the most of 4 different searches"]
    assert (cost.value, cost.met) == (3, True)
    assert found["hard update: search, the pair found is used, 2 searches"].value == 100
    assert found["hard update: search, α > 0 in the best full probe, 2 searches"].value == 100
    assert found["hard update: search, accuracy after fuse − after port, 2 tasks"].value == 12.5
    gain = found["hard update: search, loss of (0, 1) − loss of the best pair, on its own examples, 2 searches"]
    assert gain.value == 0.25


def test_the_cost_of_the_search_is_that_of_the_dearest() -> None:
    cells = finished(ALL)
    key = Key("toy", MILD, 0, RELORA)
    dear = [
        each.model_copy(update={"probes": [probe("0", str(beta)) for beta in range(1, 8)]}) if each.probes else each
        for each in cells[key].reports
    ]
    cells[key] = cells[key].model_copy(update={"reports": dear})
    cost = rows_of(cells)["search, full-probe equivalents, the most of 5 different searches"]
    assert (cost.value, cost.low, cost.high, cost.met) == (7, 3, 7, False)


def test_a_pair_that_is_not_used_gains_nothing() -> None:
    cells = finished(ALL)
    key = Key("toy", HARD, 0, RELORA)
    unused = [
        each.model_copy(update={"alpha": "0", "beta": "1", "quality": []}) if each.probes else each
        for each in cells[key].reports
    ]
    cells[key] = cells[key].model_copy(update={"reports": unused})
    found = rows_of(cells)
    assert found["hard update: search, the pair found is used, 2 searches"].value == 50
    assert found["hard update: search, accuracy after fuse − after port, 2 tasks"].value == 6.25


def test_a_search_is_judged_by_its_worst_task() -> None:
    cells = finished(ALL)
    key = Key("toy", HARD, 0, PAPER)
    better = Found(alpha=0.25, beta=2, nll=[0.25, 0.25], tokens=[1, 1])
    cells[key] = cells[key].model_copy(update={"found": better})
    found = rows_of(cells)
    row = found["loss at the pair found, ours − paper mode's, in standard errors, the worst of 2 tasks"]
    assert [row.value, row.low, row.high] == pytest.approx([3, 0, 3])
    assert row.met is False
    mean = found["loss at the pair found, ours − paper mode's, mean of 2 tasks"]
    assert mean.value == pytest.approx(0.1875)
    assert mean.unit == "nats/token"
    assert found["loss at the pair found, ours − grid search's, in standard errors, the worst of 2 tasks"].met


def test_every_plot_finds_its_rows() -> None:
    names = list(rows_of(finished(ALL)))
    wanted = [
        begin
        for every in panels(["toy", "toy2"]).values()
        for panel in every
        for begins in panel.series.values()
        for begin in begins
    ]
    assert [begin for begin in wanted if not any(name.startswith(begin) for name in names)] == []


def test_an_unfinished_run_has_the_rows_of_what_is_there() -> None:
    found = rows_of(finished([Key("toy", HARD, 0, RELORA), Key("toy", HARD, 0, SCRATCH)]))
    assert found["re-adaptations measured"].value == 2
    assert "time to readiness, Scratch ÷ ReLoRA, at the ends of steps, both ready in 1 of 1 pair, 1 task" in found
    assert not any("FineTune" in name or "mild" in name for name in found)
    assert list(rows_of({})) == ["re-adaptations measured", "re-adaptations that failed"]


def pair(mine: str, theirs: str, seed: int = 0, examples: str = "all") -> tuple[Cell, Cell]:
    one, other = (cell(asked(name, seed), correct=correct) for name, correct in ((RELORA, mine), (SCRATCH, theirs)))
    others = other.answers.model_copy(update={"examples": examples})
    return one, other.model_copy(update={"answers": others})


def test_seeds_that_agree_are_no_further_examples() -> None:
    once = accuracy_difference([pair("++-+--+-", "+--+--+-")])
    assert once.value == 12.5
    assert accuracy_difference([pair("++-+--+-", "+--+--+-", seed) for seed in (0, 1)]) == once


def test_what_differs_from_seed_to_seed_is_in_the_interval() -> None:
    better, worse = pair("++++----", "++------"), pair("++------", "++++----", 1)
    found = accuracy_difference([better, worse])
    assert found.value == 0
    # By example the seeds cancel out; what is left are their means, 25 and −25 points, each a half of the variance.
    assert found.ends == pytest.approx((-1.96 * 25, 1.96 * 25))


def test_answers_to_other_examples_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same examples"):
        accuracy_difference([pair("++", "++", examples="others")])
    with pytest.raises(ValueError, match="same examples"):
        correct_on_average(pair("++", "++", examples="others"))


def test_a_share_of_seeds_is_right_about_an_example() -> None:
    assert correct_on_average(pair("++-", "+--")) == [1, 0.5, 0]

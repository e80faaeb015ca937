"""Cells are measured once, and rows say what the cells hold."""

from pathlib import Path

import pytest

from bench.method.cells import Answer, Cell, Recipe, Shelf, recipe
from bench.method.chain import Chain
from bench.method.comparing import END, GATES, READY, RELORA, Key, over_seeds, points, readaptation, rows, variants
from relora_contract.readaptation import plan
from relora_contract.report import Probe, Seconds, Step, StepOutcome, StepReport, Verdict

CHAIN = Chain("toy", Path("r1"), Path("r2"), Path("adapter"), Path("data"))
TRAINING_SECONDS = {"ReLoRA": "10", "PortLLM": "0", "PortLLMFineTune": "30", "Scratch": "90"}


def answers(correct: str) -> list[Answer]:
    return [Answer(key=str(i), correct=c == "+", nll=1.0 + i, tokens=2) for i, c in enumerate(correct)]


def report(step: Step, verdict: Verdict | None, *, train: str = "0", probes: int = 0) -> StepReport:
    probe = Probe(alpha="0", beta="1", loss="0.5", standard_error="0", count=64, seconds="1")
    return StepReport(
        request_digest=f"sha256:{'0' * 64}",
        step=step,
        outcome=StepOutcome.SUCCEEDED,
        verdict=verdict,
        probes=[probe] * probes,
        optimizer_steps=5,
        seconds=Seconds(load="1", train=train),
        start_time="2026-01-01T00:00:00Z",
        end_time="2026-01-01T00:00:01Z",
    )


def cell(asked: Recipe, *, ready: bool = True) -> Cell:
    train = TRAINING_SECONDS.get(asked.variant, "10")
    verdict = Verdict.PASSED if ready else Verdict.FAILED
    last = report("refine", verdict, train="1000")
    reports = [report("port", Verdict.FAILED, probes=4), report("recover", verdict, train=train), last]
    return Cell(recipe=asked, reports=reports, answers=answers("++-+"), reference=answers("++++"), load=0.0)


def asked(variant: str, refine: str, seed: int = 0) -> Recipe:
    return recipe(CHAIN, variant, readaptation(variant, refine, seed=seed, epochs=1), GATES)


def test_a_finished_cell_is_not_measured_again_and_another_recipe_is(tmp_path: Path) -> None:
    measured: list[str] = []

    def measure(found: Recipe, chain: Chain) -> Cell:
        measured.append(found.variant)
        return cell(found)

    first = Shelf(tmp_path, measure).cell(asked(RELORA, END), CHAIN)
    again = Shelf(tmp_path, measure).cell(asked(RELORA, END), CHAIN)
    assert again == first
    Shelf(tmp_path, measure).cell(asked(RELORA, END, seed=1), CHAIN)
    assert measured == [RELORA, RELORA]


def test_an_interrupted_measurement_leaves_no_cell(tmp_path: Path) -> None:
    def interrupted(found: Recipe, chain: Chain) -> Cell:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Shelf(tmp_path, interrupted).cell(asked(RELORA, END), CHAIN)
    assert not list(tmp_path.iterdir())


def test_every_variant_is_a_plan_of_its_own() -> None:
    plans = [plan(readaptation(variant, refine, seed=0, epochs=1)) for variant, refine in variants()]
    assert len({found.model_dump_json() for found in plans}) == len(plans)


def test_time_to_readiness_ends_with_the_step_that_passed() -> None:
    found = cell(asked("Scratch", READY))
    assert (found.seconds_to_readiness, found.steps_to_readiness) == (92, 10)
    assert cell(asked("Scratch", READY), ready=False).seconds_to_readiness == 1093


def test_the_rows_compare_the_cells() -> None:
    cells = {Key("toy", 0, variant, refine): cell(asked(variant, refine)) for variant, refine in variants()}
    found = {row.name: row for row in rows(cells)}
    assert found["time to readiness, Scratch ÷ ReLoRA"].value == pytest.approx(92 / 12)
    assert found["time to readiness, Scratch ÷ ReLoRA"].met
    assert found["time to readiness, PortLLMFineTune ÷ ReLoRA"].value == pytest.approx(32 / 12)
    assert found["toy: final accuracy, ReLoRA"].value == 75
    assert found["toy: accuracy of the old adapter on its own base"].value == 100
    assert found["toy: final accuracy, ReLoRA − Scratch"].value == 0
    assert found["search, full-probe equivalents"].value == 4


def test_a_readiness_that_was_not_reached_is_said() -> None:
    cells = {
        Key("toy", 0, variant, refine): cell(asked(variant, refine), ready=variant != "Scratch")
        for variant, refine in variants()
    }
    names = {row.name for row in rows(cells)}
    assert "time to readiness, Scratch ÷ ReLoRA, 1 of 1 never ready: at least" in names


def test_an_interval_counts_examples_and_not_seeds() -> None:
    one, other = over_seeds([answers("++-+--+-")]), over_seeds([answers("+--+--+-")])
    twice = over_seeds([answers("++-+--+-")] * 2), over_seeds([answers("+--+--+-")] * 2)
    assert points(*twice) == points(one, other)
    assert points(one, other)[0] == 12.5


def test_answers_to_other_examples_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same examples"):
        points(over_seeds([answers("++")]), over_seeds([answers("++-")[1:]]))

"""What is finished is kept and not measured again, also by another process, and counts for its own recipe only."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.method.cells import Answers, Cell, Recipe
from bench.method.chain import Chain
from bench.method.forms import FORMS, Form
from bench.method.run import KERNELS, Run
from bench.method.shelf import Shelf
from bench.method.variants import order
from relora_contract.report import Probe, Seconds, StepOutcome, StepReport, Verdict
from relora_trainer.errors import DataError

FORM = replace(FORMS["tiny"], ablations=())
KEYS = order(FORM.tasks, FORM.updates, FORM.seeds, FORM.ablations)
ANSWERS = Answers(examples="all", correct="+-", nll=[0.5, 1.0], tokens=[1, 1])
REPORT = StepReport(
    request_digest=f"sha256:{'0' * 64}",
    step="port",
    outcome=StepOutcome.SUCCEEDED,
    verdict=Verdict.PASSED,
    probes=[Probe(alpha="0", beta="1", loss="0.5", standard_error="0", count=64, seconds="1")],
    seconds=Seconds(load="1"),
    start_time="2026-01-01T00:00:00Z",
    end_time="2026-01-01T00:00:01Z",
)


class Bench:
    """Runs whose re-adaptations are not carried out."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = root / "finished"
        self.measured: list[str] = []
        self.error: BaseException | None = None
        self._root = root
        monkeypatch.setattr("bench.method.run.open_chain", lambda task, update: None)

    def run(self, form: Form = FORM) -> Run:
        return Run(form, Shelf(self.folder), self._root, self._measure)

    def _measure(self, recipe: Recipe, chain: Chain, work: Path) -> Cell:
        if self.error is not None:
            raise self.error
        self.measured.append(recipe.variant)
        return Cell(
            recipe=recipe, reports=[REPORT], answers=ANSWERS, reference=ANSWERS, machine={"processor": "abacus"}
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def carry_out(run: Run, *chosen: str, most: int = 100) -> None:
    for work, _ in zip(run.unfinished(chosen or FORM.tasks), range(most), strict=False):
        work()


def test_an_interrupted_run_goes_on(bench: Bench) -> None:
    carry_out(bench.run(), most=3)
    assert len(bench.measured) == 3
    assert [row.value for row in bench.run().result().rows if row.name == "re-adaptations measured"] == [3]
    carry_out(bench.run())
    assert sorted(bench.measured) == sorted(key.variant for key in KEYS)
    assert list(bench.run().unfinished(FORM.tasks)) == []


def test_another_recipe_takes_the_place_of_the_old_one(bench: Bench) -> None:
    carry_out(bench.run())
    files = {path.name for path in bench.folder.iterdir()}
    assert len(files) == len(KEYS)
    longer = replace(FORM, epochs=FORM.epochs + 1)
    carry_out(bench.run(longer))
    assert len(bench.measured) == 2 * len(KEYS)
    assert {path.name for path in bench.folder.iterdir()} == files


def test_only_what_was_chosen_is_measured(bench: Bench) -> None:
    carry_out(bench.run(), "another task")
    assert bench.measured == []
    assert len(list(bench.run().unfinished([KERNELS]))) == 7


def test_an_interrupted_measurement_leaves_nothing(bench: Bench) -> None:
    bench.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        carry_out(bench.run())
    assert not bench.folder.exists()


def test_a_failed_readaptation_is_counted_and_the_run_goes_on(bench: Bench) -> None:
    bench.error = DataError("no such column")
    run = bench.run()
    carry_out(run)
    failed = [row for row in run.result().rows if row.name == "re-adaptations that failed"]
    assert [(row.value, row.met) for row in failed] == [(len(KEYS), False)]


def test_the_machines_of_what_is_kept_are_named(bench: Bench) -> None:
    carry_out(bench.run())
    assert bench.run().result().machine["processor"] == "abacus"

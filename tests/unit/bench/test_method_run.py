"""What is finished is kept and not measured again, also by another process, and counts for its own recipe only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import results
from bench.method.cells import Answers, Cell, Recipe, Trainer
from bench.method.chain import Chain
from bench.method.finished import MixedError
from bench.method.forms import FORMS, Form, kernels
from bench.method.page import FULL, kept
from bench.method.parts import Part
from bench.method.run import KERNELS, Run
from bench.method.shelf import Shelf
from bench.method.variants import order
from bench.results import Result, measured, texts
from relora_contract.report import MetricValue, Probe, Seconds, StepOutcome, StepReport, Verdict
from relora_contract.task import Metric
from relora_trainer.errors import DataError

FORM = replace(FORMS["tiny"], ablations=())
KEYS = order(FORM.tasks, FORM.updates, FORM.seeds, FORM.ablations, with_until_ready=True)
ANSWERS = Answers(examples="all", correct="+-", nll=[0.5, 1.0], tokens=[1, 1])
REPORT = StepReport(
    request_digest=f"sha256:{'0' * 64}",
    step="fuse",
    outcome=StepOutcome.SUCCEEDED,
    verdict=Verdict.PASSED,
    alpha="0",
    beta="1",
    probes=[Probe(alpha="0", beta="1", loss="0.5", standard_error="0", count=64, seconds="1")],
    quality=[MetricValue(metric=Metric.ACCURACY, value="0.5")],
    seconds=Seconds(load="1"),
    start_time="2026-01-01T00:00:00Z",
    end_time="2026-01-01T00:01:01Z",
)
MACHINE = {"processor": "abacus", "load": "9.0 2.0 1.0"}
FOUND = {"alpha": 0.0, "beta": 1.0, "nll": [0.5], "tokens": [1]}


class Bench:
    """Runs whose re-adaptations are not carried out."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = root / "finished"
        self.measured: list[str] = []
        self.error: BaseException | None = None
        self._root = root
        monkeypatch.setattr("bench.method.run.open_chain", lambda task, update: None)

    def run(self, form: Form = FORM, *, any_trainer: bool = False) -> Run:
        return Run(form, Shelf(self.folder, any_trainer=any_trainer), self._root, self._measure)

    def change(self, name: str, changed: Callable[[Recipe], dict[str, object]]) -> None:
        """Change the recipe of a kept cell, as if it had been measured by another trainer."""
        path = self.folder / f"{name}.json"
        cell = Cell.model_validate_json(path.read_text())
        recipe = cell.recipe.model_copy(update=changed(cell.recipe))
        path.write_text(cell.model_copy(update={"recipe": recipe}).model_dump_json(by_alias=True))

    def change_all(self, changed: Callable[[Recipe], dict[str, object]]) -> None:
        for path in self.folder.iterdir():
            self.change(path.stem, changed)

    def keep_part(self, name: str, **changed: str) -> None:
        """Keep a part as if this trainer had measured it, or one that differs from it."""
        part = Part(name, list, next(part.settings for part in kernels(FORM) if part.name == name))
        shelf = Shelf(self.folder)
        shelf.keep_part(part, [measured(f"of {name}", 1)])
        found = shelf.part(part)
        assert found is not None
        trainer = found.trainer.model_copy(update=changed)
        (self.folder / f"part-{name}.json").write_text(found.model_copy(update={"trainer": trainer}).model_dump_json())

    def _measure(self, recipe: Recipe, chain: Chain, work: Path) -> Cell:
        if self.error is not None:
            raise self.error
        self.measured.append(recipe.variant)
        return Cell.model_validate(
            {
                "recipe": recipe,
                "reports": [REPORT, REPORT.model_copy(update={"step": "port", "probes": []})],
                "answers": ANSWERS,
                "reference": ANSWERS,
                "found": FOUND,
                "machine": MACHINE,
            }
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def carry_out(run: Run, *chosen: str, most: int = 100) -> None:
    for work, _ in zip(run.unfinished(chosen or FORM.tasks), range(most), strict=False):
        work()


def value(result: Result, name: str) -> float | None:
    return next(row.value for row in result.rows if row.name == name)


def test_an_interrupted_run_goes_on(bench: Bench) -> None:
    carry_out(bench.run(), most=3)
    assert len(bench.measured) == 3
    assert value(bench.run().result(), "re-adaptations measured") == 3
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
    assert len(list(bench.run().unfinished([KERNELS]))) == len(list(kernels(FORM)))


def test_a_part_counts_for_its_own_sizes_and_for_no_others(bench: Bench) -> None:
    shelf = Shelf(bench.folder)
    for part in kernels(FORM):
        shelf.keep_part(part, [measured(f"of {part.name}", 1)])
    assert list(bench.run().unfinished([KERNELS])) == []
    rounds = replace(FORM, rounds=FORM.rounds + 1)
    assert len(list(bench.run(rounds).unfinished([KERNELS]))) == 1, "the fusion, which alone has that number of rounds"
    assert list(bench.run(replace(FORM, ablations=("no anchor",))).unfinished([KERNELS])) == []
    assert value(bench.run(rounds).result(), "of projection") == 1


def test_an_interrupted_measurement_leaves_nothing(bench: Bench) -> None:
    bench.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        carry_out(bench.run())
    assert not bench.folder.exists()


def test_a_failed_readaptation_is_counted_by_every_process_until_it_is_measured(bench: Bench) -> None:
    bench.error = DataError("no such column")
    carry_out(bench.run())
    failed = [row for row in bench.run().result().rows if row.name == "re-adaptations that failed"]
    assert [(row.value, row.met) for row in failed] == [(len(KEYS), False)]
    assert "no such column" in (bench.folder / "failed-tiny-hard-update-0-relora.json").read_text()
    longer = replace(FORM, epochs=FORM.epochs + 1)
    assert value(bench.run(longer).result(), "re-adaptations that failed") == 0, "another recipe has not failed"
    bench.error = None
    carry_out(bench.run())
    assert value(bench.run().result(), "re-adaptations that failed") == 0
    assert not list(bench.folder.glob("failed-*"))


def test_a_run_says_when_and_on_what_it_was_measured(bench: Bench) -> None:
    carry_out(bench.run())
    path = bench.folder / "tiny-hard-update-0-portllm.json"
    cell = Cell.model_validate_json(path.read_text())
    later = REPORT.model_copy(update={"start_time": "2026-01-02T10:00:00Z", "end_time": "2026-01-02T10:00:30Z"})
    moved = {"reports": [later], "machine": {"processor": "slide rule", "load": "0.1 0.5 0.1"}}
    path.write_text(cell.model_copy(update=moved).model_dump_json(by_alias=True))
    found = bench.run().result()
    here = Trainer.here()
    assert found.date == "2026-01-01T00:00Z to 2026-01-02T10:00Z"
    assert found.machine == {
        "kinds of machines": "2",
        "processor": "abacus and slide rule",
        "load": "0.5 to 2.0",
        "threads": str(here.threads),
        "placement": here.placement,
    }
    assert found.versions == {**here.versions, "trainer": here.code[:12]}


def test_nothing_is_measured_yet(bench: Bench) -> None:
    found = bench.run().result()
    assert found.machine["kinds of machines"] == "1"
    assert found.machine["threads"] == str(Trainer.here().threads)


def test_a_table_is_of_whatever_trainer_measured(bench: Bench) -> None:
    carry_out(bench.run())
    bench.change_all(
        lambda recipe: {
            "code": "f" * 64,
            "versions": {"torch": "0.1"},
            "threads": 64,
            "inputs": [*recipe.inputs[:-1], "data-of-another-cache"],
        }
    )
    assert value(bench.run().result(), "re-adaptations measured") == 0
    found = bench.run(any_trainer=True).result()
    assert value(found, "re-adaptations measured") == len(KEYS)
    assert found.versions == {"torch": "0.1", "trainer": "f" * 12}
    assert found.machine["threads"] == "64"
    longer = replace(FORM, epochs=FORM.epochs + 1)
    assert value(bench.run(longer, any_trainer=True).result(), "re-adaptations measured") == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "other"}, "code is .*other in 'tiny, hard update, seed 0: PortLLM'"),
        ({"versions": {"torch": "0.1"}}, "torch is .* 0.1 in 'tiny, hard update, seed 0: PortLLM'"),
        ({"threads": 99}, "threads is .* 99 in"),
        ({"placement": "gpu"}, "placement is .* gpu in"),
        ({"inputs": ["elsewhere"]}, "inputs is .*elsewhere.* in"),
    ],
)
def test_a_table_of_two_trainers_is_refused(bench: Bench, change: dict[str, object], said: str) -> None:
    carry_out(bench.run())
    bench.change("tiny-hard-update-0-portllm", lambda recipe: change | with_others(recipe, change))
    with pytest.raises(MixedError, match=said):
        bench.run(any_trainer=True).result()


def with_others(recipe: Recipe, change: dict[str, object]) -> dict[str, object]:
    """Return the versions of the other packages, so that the one that is named is the one that differs."""
    versions = change.get("versions")
    return {"versions": recipe.versions | versions} if isinstance(versions, dict) else {}


def test_a_part_of_another_trainer_is_refused_beside_a_cell(bench: Bench) -> None:
    carry_out(bench.run())
    bench.change_all(lambda recipe: {"threads": 99})
    bench.keep_part("fusion")
    with pytest.raises(MixedError, match=r"threads is 99 in 'tiny.*', .* in 'fusion'"):
        bench.run(any_trainer=True).result()


def test_parts_of_later_trainers_stand_beside_the_cells_of_an_earlier_one(bench: Bench) -> None:
    carry_out(bench.run())
    bench.change_all(lambda recipe: {"code": "f" * 64})
    bench.keep_part("fusion", code="d" * 64)
    bench.keep_part("probe", code="e" * 64)
    found = bench.run(any_trainer=True).result()
    assert value(found, "of fusion") == 1
    assert found.versions["trainer"] == "f" * 12
    assert found.versions["trainer of the parts on their own"] == f"{'d' * 12} and {'e' * 12}"


def test_parts_in_another_precision_than_the_cells_say_so(bench: Bench) -> None:
    carry_out(bench.run())
    bench.keep_part("fusion", placement="cpu, in some other precision")
    found = bench.run(any_trainer=True).result()
    assert found.machine["placement"] == Trainer.here().placement
    assert found.machine["placement of the parts on their own"] == "cpu, in some other precision"


def test_parts_in_two_precisions_are_refused(bench: Bench) -> None:
    bench.keep_part("fusion")
    bench.keep_part("probe", placement="cpu, in some other precision")
    with pytest.raises(MixedError, match=r"placement is .* in 'fusion', cpu, in some other precision in 'probe'"):
        bench.run(any_trainer=True).result()


def test_a_failure_of_another_trainer_is_not_counted(bench: Bench) -> None:
    carry_out(bench.run())
    path = bench.folder / "tiny-hard-update-0-relora.json"
    failed = Cell.model_validate_json(path.read_text()).recipe
    path.unlink()
    shelf = Shelf(bench.folder)
    for recipe, count in ((failed.model_copy(update={"code": "other"}), 0), (failed, 1)):
        shelf.keep_failure(recipe, "no such column")
        assert value(bench.run(any_trainer=True).result(), "re-adaptations that failed") == count


def test_the_kept_table_is_that_of_the_kept_cells() -> None:
    shelf = Shelf(results.FOLDER / "method", any_trainer=True)
    found = Run(FORMS["full"], shelf, Path("no work")).result()
    if (table := kept(FULL)) is not None:
        assert (found.date, found.versions, found.machine) == (table.date, table.versions, table.machine)
        assert list(map(texts, found.rows)) == list(map(texts, table.rows))

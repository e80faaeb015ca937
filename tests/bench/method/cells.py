"""Cells: one re-adaptation each, by the trainer's own steps, kept under the digest of its recipe.

A cell that is on disk is not measured again, so that a run of hours can be interrupted. The recipe covers the code of
the trainer: when that changes, everything is measured anew.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

import relora_trainer
from bench.method.chain import PARTS, Chain
from bench.method.parts import Part
from bench.method.searchers import SEARCHERS, searcher_code
from bench.results import Row
from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part, model_digest
from relora_contract.model import Model
from relora_contract.readaptation import Readaptation
from relora_contract.report import Step, StepReport, Verdict
from relora_contract.request import DeltaRequest, ReadaptationRequest
from relora_contract.task import Gate
from relora_store.names import Content
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.errors import TrainerError
from relora_trainer.execution import Ended, StepCode, StepContext, StepResult, execute, load_step, versions
from relora_trainer.local_run import LocalRun, run_locally
from relora_trainer.outcomes import Outcome
from relora_trainer.ports import StopSignal, SystemClock
from relora_trainer.progress import LoggedProgress
from relora_trainer.records import GATE_RECORD, read_outcomes
from relora_trainer.search import Search, best
from relora_trainer.steps import fuse

Measure = Callable[["Recipe", Chain], "Cell"]
_ROWS = TypeAdapter(list[Row])


class Recipe(Model):
    """Everything that determines a cell, besides the speed of the machine."""

    chain: str
    inputs: list[str]
    """Folder names of the chain's parts, which carry the keys of their own recipes."""
    variant: str
    readaptation: Readaptation
    gates: list[Gate]
    code: str
    search_code: str | None = None
    """Of a search of the bench's own."""
    versions: dict[str, str]

    @property
    def digest(self) -> str:
        """The sha256 of the recipe's canonical JSON."""
        return model_digest(self)


class Answer(BaseModel):
    """What the adapter did on one test example."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    correct: bool
    nll: float
    tokens: int


class Found(BaseModel):
    """The best full probe of a search: its examples' negative log-likelihoods in nats, and their tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    beta: float
    nll: list[float]
    tokens: list[int]


class Cell(BaseModel):
    """What one re-adaptation took and gave.

    `answers` are those of the adapter published last, in the order of the test examples; `reference` those of the old
    adapter on its own base. `found` is absent where nothing was searched. `load` is the machine's load average at the
    end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    reports: list[StepReport]
    answers: list[Answer]
    reference: list[Answer]
    found: Found | None = None
    load: float

    @property
    def ready(self) -> bool:
        """Whether a step passed the gate."""
        return any(report.verdict is Verdict.PASSED for report in self.reports)

    @property
    def seconds_to_readiness(self) -> float:
        """Seconds of all parts of all steps up to the one that passed, the delta's included; of all if none did."""
        return sum(float(value) for report in self._until_ready() for _, value in report.seconds)

    @property
    def seconds_of_delta(self) -> float:
        """Seconds of the delta step; none where the strategy has no delta."""
        return sum(float(value) for report in self.reports if report.step == "delta" for _, value in report.seconds)

    @property
    def steps_to_readiness(self) -> int:
        """Optimizer steps of the same."""
        return sum(report.optimizer_steps for report in self._until_ready())

    def _until_ready(self) -> list[StepReport]:
        passed = [index for index, report in enumerate(self.reports) if report.verdict is Verdict.PASSED]
        return self.reports[: passed[0] + 1] if passed else self.reports


class Shelf:
    """What is finished, in a folder."""

    def __init__(self, folder: Path, measure: Measure) -> None:
        self._folder = folder
        self._measure = measure

    def cell(self, recipe: Recipe, chain: Chain) -> Cell:
        """Return the cell, measured now unless it lies in the folder."""
        path = self._folder / f"{hex_part(recipe.digest)}.json"
        if path.is_file():
            return Cell.model_validate_json(path.read_text())
        cell = self._measure(recipe, chain)
        _write_whole(path, cell.model_dump_json(indent=1))
        return cell

    def rows(self, part: Part, form: str) -> list[Row]:
        """Return a part's rows, measured now unless they lie in the folder. `form` says with which sizes."""
        asked = f"{part.name} {form} {trainer_code()} {versions()} {os.environ.get('OMP_NUM_THREADS')}"
        path = self._folder / f"part-{hashlib.sha256(asked.encode()).hexdigest()}.json"
        if path.is_file():
            return _ROWS.validate_json(path.read_text())
        rows = list(part.rows())
        _write_whole(path, _ROWS.dump_json(rows, indent=1).decode())
        return rows


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(text)
    unfinished.replace(path)


def recipe(chain: Chain, variant: str, readaptation: Readaptation, gates: list[Gate]) -> Recipe:
    """Return the recipe of a cell with the trainer as it is now."""
    return Recipe(
        chain=chain.name,
        inputs=[folder.name for folder in (chain.old, chain.new, chain.adapter, chain.data)],
        variant=variant,
        readaptation=readaptation,
        gates=gates,
        code=trainer_code(),
        search_code=searcher_code(variant),
        versions=versions(),
    )


@cache
def trainer_code() -> str:
    """Return the digest of the trainer's source files."""
    found = hashlib.sha256()
    folder = Path(str(relora_trainer.__file__)).parent
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return found.hexdigest()


@dataclass(frozen=True)
class _Fuse:
    """The fuse step with a search of the bench's choice."""

    searcher: Callable[..., Search]

    def run(self, context: StepContext) -> StepResult:
        return fuse.run(context, self.searcher)


def measure(recipe: Recipe, chain: Chain, *, folder: Path) -> Cell:
    """Carry out every step, in this process, with a store and a work folder of the cell's own.

    The delta is computed once for each pair of bases, by the first cell that needs it; its report, and so its seconds,
    are those of every such cell.

    Args:
        recipe: Of the cell.
        chain: Its inputs.
        folder: Where stores with nothing but a delta are kept, beside that of the cell at work: the report of a delta
            names the place of its store, which is therefore always the same.

    Raises:
        TrainerError: A step failed.
    """
    running = folder / "running"
    shutil.rmtree(running, ignore_errors=True)
    with _removed_afterwards(running):
        root = running / "store"
        store = StoreArtifacts(f"file://{root}")
        reports: list[StepReport] = []
        searches: list[Search] = []
        make: Callable[..., Search] = SEARCHERS.get(recipe.variant, Search)
        kept = folder / f"delta-{hashlib.sha256(f'{recipe.inputs[:2]} {recipe.code}'.encode()).hexdigest()}"
        if kept.is_dir():
            shutil.copytree(kept, root)

        def searcher(*arguments: object, **named: object) -> Search:
            searches.append(make(*arguments, **named))
            return searches[-1]

        def load(step: Step) -> StepCode:
            return _Fuse(searcher) if step == "fuse" else load_step(step)

        def one_step(step: Step, request: DeltaRequest | ReadaptationRequest) -> Ended:
            end = execute(
                step,
                request,
                store=store,
                work=running / "work",
                clock=SystemClock(),
                progress=LoggedProgress(),
                stop=StopSignal(),
                load=load,
            )
            if end.report is None:
                raise TrainerError(f"{step} of {recipe.variant}: {end.notification.message}")
            reports.append(end.report)
            if step == "delta" and not kept.is_dir():
                _keep(root, kept)
            return end

        def answers(ref: ArtifactRef) -> list[Answer]:
            fetched = store.fetch(ref, running / "read" / hex_part(ref.digest), Content.STATE)
            return [_answer(outcome) for outcome in read_outcomes(fetched / GATE_RECORD)]

        run_locally(_run(recipe, chain, f"file://{root}"), one_step)
        outcomes = [report.outcomes for report in reports if report.outcomes]
        references = [report.reference_outcomes for report in reports if report.reference_outcomes]
        return Cell(
            recipe=recipe,
            reports=reports,
            answers=answers(outcomes[-1]),
            reference=answers(references[0]),
            found=_found(searches[-1]) if searches else None,
            load=os.getloadavg()[0],
        )


@contextmanager
def _removed_afterwards(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(store: Path, kept: Path) -> None:
    unfinished = kept.with_suffix(".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(store, unfinished)
    unfinished.replace(kept)


def _found(search: Search) -> Found:
    probe = best(search.history)
    return Found(alpha=probe.alpha, beta=probe.beta, nll=list(probe.nll), tokens=list(probe.tokens))


def _run(recipe: Recipe, chain: Chain, store: str) -> LocalRun:
    def at(path: Path) -> dict[str, JsonValue]:
        return {"uri": f"file://{path}"}

    return LocalRun.model_validate(
        {
            "sourceBase": at(chain.old),
            "targetBase": at(chain.new),
            "adapter": at(chain.adapter),
            "dataset": {part: at(chain.data / f"{part}.jsonl") for part in PARTS},
            "task": chain.task,
            "gates": recipe.gates,
            "readaptation": recipe.readaptation,
            "storeUri": store,
        }
    )


def _answer(outcome: Outcome) -> Answer:
    return Answer(key=outcome.key, correct=outcome.correct, nll=outcome.nll, tokens=outcome.tokens)

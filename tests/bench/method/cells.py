"""Cells: one re-adaptation each, by the trainer's own steps, kept under the digest of its recipe.

A cell that is on disk is not measured again, so that a run of hours can be interrupted. The recipe covers the code of
the trainer: when that changes, everything is measured anew.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

import relora_trainer
from bench.method.chain import PARTS, Chain
from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part, model_digest
from relora_contract.model import Model
from relora_contract.readaptation import Gate, Readaptation
from relora_contract.report import Step, StepReport, Verdict
from relora_contract.request import DeltaRequest, ReadaptationRequest
from relora_store.names import Content
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.errors import TrainerError
from relora_trainer.execution import Ended, execute, versions
from relora_trainer.local_run import LocalRun, run_locally
from relora_trainer.outcomes import Outcome
from relora_trainer.ports import StopSignal, SystemClock
from relora_trainer.progress import LoggedProgress
from relora_trainer.records import GATE_RECORD, read_outcomes

Measure = Callable[["Recipe", Chain], "Cell"]


class Recipe(Model):
    """Everything that determines a cell, besides the speed of the machine."""

    chain: str
    inputs: list[str]
    """Folder names of the chain's parts, which carry the keys of their own recipes."""
    variant: str
    readaptation: Readaptation
    gates: list[Gate]
    code: str
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


class Cell(BaseModel):
    """What one re-adaptation took and gave.

    `answers` are those of the adapter published last, in the order of the test examples; `reference` those of the old
    adapter on its own base. `load` is the machine's load average at the end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    reports: list[StepReport]
    answers: list[Answer]
    reference: list[Answer]
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
    def steps_to_readiness(self) -> int:
        """Optimizer steps of the same."""
        return sum(report.optimizer_steps for report in self._until_ready())

    def _until_ready(self) -> list[StepReport]:
        passed = [index for index, report in enumerate(self.reports) if report.verdict is Verdict.PASSED]
        return self.reports[: passed[0] + 1] if passed else self.reports


class Shelf:
    """Finished cells in a folder."""

    def __init__(self, folder: Path, measure: Measure) -> None:
        self._folder = folder
        self._measure = measure

    def cell(self, recipe: Recipe, chain: Chain) -> Cell:
        """Return the cell, measured now unless it lies in the folder."""
        path = self._folder / f"{hex_part(recipe.digest)}.json"
        if path.is_file():
            return Cell.model_validate_json(path.read_text())
        cell = self._measure(recipe, chain)
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(cell.model_dump_json(indent=1))
        partial.replace(path)
        return cell


def recipe(chain: Chain, variant: str, readaptation: Readaptation, gates: list[Gate]) -> Recipe:
    """Return the recipe of a cell with the trainer as it is now."""
    return Recipe(
        chain=chain.name,
        inputs=[folder.name for folder in (chain.old, chain.new, chain.adapter, chain.data)],
        variant=variant,
        readaptation=readaptation,
        gates=gates,
        code=trainer_code(),
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


def measure(recipe: Recipe, chain: Chain) -> Cell:
    """Carry out every step, in this process, with a store and a work folder of the cell's own.

    Raises:
        TrainerError: A step failed.
    """
    with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
        store = StoreArtifacts(f"file://{folder}/store")
        reports: list[StepReport] = []

        def one_step(step: Step, request: DeltaRequest | ReadaptationRequest) -> Ended:
            end = execute(
                step,
                request,
                store=store,
                work=Path(folder) / "work",
                clock=SystemClock(),
                progress=LoggedProgress(),
                stop=StopSignal(),
            )
            if end.report is None:
                raise TrainerError(f"{step} of {recipe.variant}: {end.notification.message}")
            reports.append(end.report)
            return end

        def answers(ref: ArtifactRef) -> list[Answer]:
            fetched = store.fetch(ref, Path(folder) / "read" / hex_part(ref.digest), Content.STATE)
            return [_answer(outcome) for outcome in read_outcomes(fetched / GATE_RECORD)]

        run_locally(_run(recipe, chain, f"file://{folder}/store"), one_step)
        outcomes = [report.outcomes for report in reports if report.outcomes]
        references = [report.reference_outcomes for report in reports if report.reference_outcomes]
        return Cell(
            recipe=recipe,
            reports=reports,
            answers=answers(outcomes[-1]),
            reference=answers(references[0]),
            load=os.getloadavg()[0],
        )


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

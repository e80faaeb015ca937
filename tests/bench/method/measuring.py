"""Carrying out one re-adaptation by the trainer's own steps, in this process."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from bench import results
from bench.method.cells import Answers, Cell, Found, Recipe
from bench.method.chain import PARTS, Chain
from bench.method.searchers import SEARCHERS
from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_contract.readaptation import Readaptation, Strategy
from relora_contract.report import Step, StepReport
from relora_contract.request import DeltaRequest, ReadaptationRequest
from relora_store.names import Content
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.errors import TrainerError
from relora_trainer.execution import Ended, StepCode, StepContext, StepResult, execute, load_step
from relora_trainer.local_run import LocalRun, run_locally
from relora_trainer.outcomes import Outcome
from relora_trainer.ports import StopSignal, SystemClock
from relora_trainer.progress import LoggedProgress
from relora_trainer.records import GATE_RECORD, read_outcomes
from relora_trainer.search import Search, best
from relora_trainer.steps import fuse

_DECIMALS = 5
"""Of the log-likelihoods that are kept, in nats."""
_LEFT_OUT: dict[str, object] = {
    **dict.fromkeys(("artifact", "training_state", "outcomes", "reference_outcomes", "surface", "module_fit", "curve")),
    "captured_energy": {},
    "versions": {},
}
"""Of a report: what no row is made of, and what names folders that are gone."""


@dataclass(frozen=True)
class _Fuse:
    """The fuse step with a search of the bench's choice."""

    searcher: Callable[..., Search]

    def run(self, context: StepContext) -> StepResult:
        return fuse.run(context, self.searcher)


def measure(recipe: Recipe, chain: Chain, folder: Path) -> Cell:
    """Carry out every step, in this process, with a store and a work folder of the cell's own.

    What the store holds before is what it would hold in use. The delta is computed once for each pair of bases, by the
    first cell that needs it; its report, and so its seconds, are those of every such cell. The old adapter is measured
    on its own base before, as an earlier request would have done, and counts in no cell.

    Args:
        recipe: Of the cell.
        chain: Its inputs.
        folder: To work in. Stores with nothing but a delta or a reference are kept there, beside that of the cell at
            work: the report of a delta names the place of its store, which is therefore always the same.

    Raises:
        TrainerError: A step failed.
    """
    delta = folder / f"delta-{_digest(recipe, chain.old, chain.new)}"
    reference = folder / f"reference-{_digest(recipe, chain.old, chain.adapter, chain.data)}"
    if not reference.is_dir():
        with _Running.in_folder(folder / "running") as running:
            ported = Readaptation(strategy=Strategy.PORTLLM)
            running.carry_out(recipe.model_copy(update={"readaptation": ported}), chain)
            running.keep(reference, without=("reports", "readings"))
    with _Running.in_folder(folder / "running") as running:
        for kept in (delta, reference):
            if kept.is_dir():
                shutil.copytree(kept, running.root, dirs_exist_ok=True)

        def keep(step: Step) -> None:
            if step == "delta" and not delta.is_dir():
                running.keep(delta, without=("baselines",))

        reports, searches = running.carry_out(recipe, chain, ended=keep)
        outcomes = [report.outcomes for report in reports if report.outcomes]
        references = [report.reference_outcomes for report in reports if report.reference_outcomes]
        return Cell(
            recipe=recipe,
            reports=[report.model_copy(update=_LEFT_OUT) for report in reports],
            answers=running.answers(outcomes[-1]),
            reference=running.answers(references[0]),
            found=_found(searches[-1]) if searches else None,
            machine=results.machine(),
        )


class _Running:
    """A store and a work folder for one re-adaptation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "store"
        self._store = StoreArtifacts(f"file://{self.root}")

    @classmethod
    @contextmanager
    def in_folder(cls, folder: Path) -> Iterator["_Running"]:
        """Yield one in a folder of its own, which is removed afterwards."""
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield cls(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def carry_out(
        self, recipe: Recipe, chain: Chain, ended: Callable[[Step], None] = lambda step: None
    ) -> tuple[list[StepReport], list[Search]]:
        """Carry out every step; return the reports and the searches. `ended` is called after each step."""
        reports: list[StepReport] = []
        searches: list[Search] = []
        make: Callable[..., Search] = SEARCHERS.get(recipe.variant, Search)

        def searcher(*arguments: object, **named: object) -> Search:
            searches.append(make(*arguments, **named))
            return searches[-1]

        def load(step: Step) -> StepCode:
            return _Fuse(searcher) if step == "fuse" else load_step(step)

        def one_step(step: Step, request: DeltaRequest | ReadaptationRequest) -> Ended:
            end = execute(
                step,
                request,
                store=self._store,
                work=self._folder / "work",
                clock=SystemClock(),
                progress=LoggedProgress(),
                stop=StopSignal(),
                load=load,
            )
            if end.report is None:
                raise TrainerError(f"{step} of {recipe.variant}: {end.notification.message}")
            reports.append(end.report)
            ended(step)
            return end

        run_locally(_run(recipe, chain, f"file://{self.root}"), one_step)
        return reports, searches

    def answers(self, ref: ArtifactRef) -> Answers:
        """Return what stored outcomes say."""
        fetched = self._store.fetch(ref, self._folder / "read" / hex_part(ref.digest), Content.STATE)
        return _answers(read_outcomes(fetched / GATE_RECORD))

    def keep(self, place: Path, *, without: Sequence[str]) -> None:
        """Copy the store as it is now, without some of its folders."""
        unfinished = place.with_suffix(".partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(self.root, unfinished, ignore=shutil.ignore_patterns(*without))
        unfinished.replace(place)


def _digest(recipe: Recipe, *inputs: Path) -> str:
    return hashlib.sha256(f"{[path.name for path in inputs]} {recipe.code}".encode()).hexdigest()


def _found(search: Search) -> Found:
    probe = best(search.history)
    nll = [round(value, _DECIMALS) for value in probe.nll]
    return Found(alpha=probe.alpha, beta=probe.beta, nll=nll, tokens=list(probe.tokens))


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


def _answers(outcomes: Sequence[Outcome]) -> Answers:
    keys = json.dumps([outcome.key for outcome in outcomes])
    return Answers(
        examples=hashlib.sha256(keys.encode()).hexdigest()[:16],
        correct="".join("+" if outcome.correct else "-" for outcome in outcomes),
        nll=[round(outcome.nll, _DECIMALS) for outcome in outcomes],
        tokens=[outcome.tokens for outcome in outcomes],
    )

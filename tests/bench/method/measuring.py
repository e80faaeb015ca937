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

    The delta is computed once for each pair of bases, by the first cell that needs it; its report, and so its seconds,
    are those of every such cell.

    Args:
        recipe: Of the cell.
        chain: Its inputs.
        folder: To work in. Stores with nothing but a delta are kept there, beside that of the cell at work: the report
            of a delta names the place of its store, which is therefore always the same.

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

        def answers(ref: ArtifactRef) -> Answers:
            fetched = store.fetch(ref, running / "read" / hex_part(ref.digest), Content.STATE)
            return _answers(read_outcomes(fetched / GATE_RECORD))

        run_locally(_run(recipe, chain, f"file://{root}"), one_step)
        outcomes = [report.outcomes for report in reports if report.outcomes]
        references = [report.reference_outcomes for report in reports if report.reference_outcomes]
        return Cell(
            recipe=recipe,
            reports=[report.model_copy(update=_LEFT_OUT) for report in reports],
            answers=answers(outcomes[-1]),
            reference=answers(references[0]),
            found=_found(searches[-1]) if searches else None,
            machine=results.machine(),
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

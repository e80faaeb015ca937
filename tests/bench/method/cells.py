"""Cells: one re-adaptation each, with the recipe that determines it."""

import ast
import hashlib
from functools import cache
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

import relora_trainer
from bench.method.chain import Chain
from bench.method.searchers import searcher_code
from relora_contract.digests import model_digest
from relora_contract.model import Model
from relora_contract.readaptation import Readaptation
from relora_contract.report import StepReport, Verdict
from relora_contract.task import Gate
from relora_trainer import placement
from relora_trainer.execution import versions


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
    threads: int
    """Of torch."""
    placement: str
    """Device, precision and attention."""

    @property
    def digest(self) -> str:
        """The sha256 of the recipe's canonical JSON."""
        return model_digest(self)


class Answers(BaseModel):
    """What an adapter did on the test examples, in their order.

    Attributes:
        examples: A digest of the examples' keys: answers with another one are not comparable.
        correct: A `+` or a `-` for each.
        nll: Negative log-likelihood of each completion, in nats.
        tokens: Tokens of each completion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: str
    correct: str
    nll: list[float]
    tokens: list[int]

    @property
    def outcomes(self) -> list[bool]:
        """Whether each was right."""
        return [sign == "+" for sign in self.correct]


class Found(BaseModel):
    """The best full probe of a search: its examples' negative log-likelihoods in nats, and their tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    beta: float
    nll: list[float]
    tokens: list[int]


class Cell(BaseModel):
    """What one re-adaptation took and gave.

    `answers` are those of the adapter published last; `reference` those of the old adapter on its own base. `found` is
    absent where nothing was searched. `reports` lack what no row is made of. `machine` is what `results.machine` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    reports: list[StepReport]
    answers: Answers
    reference: Answers
    found: Found | None = None
    machine: dict[str, str]

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
        threads=torch.get_num_threads(),
        placement=str(placement.choose_placement()),
    )


@cache
def trainer_code() -> str:
    """Return the digest of the trainer's code: of its syntax, so that a changed comment changes nothing.

    The module that chooses the placement is no part of it: what it chose is named beside the digest.
    """
    found = hashlib.sha256()
    folder = Path(str(relora_trainer.__file__)).parent
    for path in sorted(set(folder.rglob("*.py")) - {Path(str(placement.__file__))}):
        found.update(f"{path.relative_to(folder)}\n{ast.dump(ast.parse(path.read_text()))}\n".encode())
    return found.hexdigest()

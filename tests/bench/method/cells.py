"""Cells: one re-adaptation each, with the recipe that determines it."""

import ast
import hashlib
from collections.abc import Sequence
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
from relora_contract.report import Probe, Seconds, Step, StepReport, Verdict
from relora_contract.task import Gate
from relora_trainer import placement
from relora_trainer.execution import versions


class Trainer(BaseModel):
    """What carries out cells and other parts, besides the machine.

    Attributes:
        code: Digest of the trainer's code.
        versions: Of the packages that it uses.
        threads: Of torch.
        placement: Device, precision and attention.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    versions: dict[str, str]
    threads: int
    placement: str

    @classmethod
    def here(cls) -> "Trainer":
        """Return the trainer of this checkout on this machine."""
        return cls(
            code=trainer_code(),
            versions=versions(),
            threads=torch.get_num_threads(),
            placement=str(placement.choose_placement()),
        )


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

    @property
    def trainer(self) -> Trainer:
        """What carries it out."""
        return Trainer(code=self.code, versions=self.versions, threads=self.threads, placement=self.placement)

    def asks_as(self, other: "Recipe") -> bool:
        """Tell whether two recipes ask for the same, whatever trainer answers, and from which inputs of that name."""
        return (self.chain, self.variant, self.readaptation, self.gates) == (
            other.chain,
            other.variant,
            other.readaptation,
            other.gates,
        )


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
        return self._until_ready() is not None

    @property
    def seconds(self) -> float:
        """Seconds of all parts of all steps, the delta's included."""
        return _seconds(self.reports)

    @property
    def seconds_by_part(self) -> dict[str, float]:
        """The same by part."""
        return {
            part: sum(float(getattr(report.seconds, part)) for report in self.reports) for part in Seconds.model_fields
        }

    @property
    def seconds_to_readiness(self) -> float | None:
        """Those of the steps up to the one that passed the gate; None where none did."""
        reports = self._until_ready()
        return None if reports is None else _seconds(reports)

    @property
    def seconds_of_delta(self) -> float:
        """Seconds of the delta step; none where the strategy has no delta."""
        return _seconds([report for report in self.reports if report.step == "delta"])

    @property
    def steps_to_readiness(self) -> int | None:
        """Optimizer steps until the gate was passed; None where it was not."""
        reports = self._until_ready()
        return None if reports is None else sum(report.optimizer_steps for report in reports)

    @property
    def probes(self) -> list[Probe]:
        """Those of its search, in order; none where nothing was searched."""
        return [probe for report in self.reports for probe in report.probes]

    def report(self, step: Step) -> StepReport | None:
        """Return the report of a step, if the strategy has it."""
        return next((report for report in self.reports if report.step == step), None)

    def _until_ready(self) -> list[StepReport] | None:
        passed = [index for index, report in enumerate(self.reports) if report.verdict is Verdict.PASSED]
        return self.reports[: passed[0] + 1] if passed else None


def _seconds(reports: Sequence[StepReport]) -> float:
    return sum(float(value) for report in reports for _, value in report.seconds)


def recipe(chain: Chain, variant: str, readaptation: Readaptation, gates: list[Gate]) -> Recipe:
    """Return the recipe of a cell with the trainer as it is now."""
    trainer = Trainer.here()
    return Recipe(
        chain=chain.name,
        inputs=[folder.name for folder in (chain.old, chain.new, chain.adapter, chain.data)],
        variant=variant,
        readaptation=readaptation,
        gates=gates,
        code=trainer.code,
        search_code=searcher_code(variant),
        versions=trainer.versions,
        threads=trainer.threads,
        placement=trainer.placement,
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

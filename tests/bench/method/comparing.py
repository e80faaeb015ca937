"""What the strategies and the parts of ReLoRA are worth: time to readiness and final quality, at the same gate."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import JsonValue

from bench.method.cells import Answer, Cell, Shelf, recipe
from bench.method.chain import Chain, open_chain
from bench.method.parts import Part
from bench.method.timing import observed, with_interval
from bench.results import Row, at_least, at_most, measured
from relora_contract.readaptation import Gate, Readaptation
from relora_trainer.paired import paired_difference

GATES = [Gate(metric="Accuracy", max_regression="0.06")]
RELORA, PORT, FINE_TUNE, SCRATCH = "ReLoRA", "PortLLM", "PortLLMFineTune", "Scratch"
TO_READINESS = (RELORA, PORT, FINE_TUNE, SCRATCH)
ABLATIONS: Mapping[str, dict[str, JsonValue]] = {
    "without search": {"search": {"budget": 1}},
    "without anchor": {"tuning": {"anchorStrong": "0", "anchorWeak": "0"}},
}
READY, END = "WhenBelowGate", "Always"
Z = 1.96
_FASTER = {SCRATCH: 5.0, FINE_TUNE: 1.5}
_POINTS = -0.5
_PROBES = 6


@dataclass(frozen=True)
class Key:
    """Which cell: a variant on a chain with a seed, to readiness or to the end."""

    chain: str
    seed: int
    variant: str
    refine: str


Cells = Mapping[Key, Cell]


def variants() -> list[tuple[str, str]]:
    """Return every variant with where it ends."""
    to_readiness = [(name, READY) for name in TO_READINESS]
    return [*to_readiness, *((name, END) for name in (RELORA, *ABLATIONS, FINE_TUNE, SCRATCH))]


def readaptation(variant: str, refine: str, *, seed: int, epochs: int) -> Readaptation:
    """Return what a binding would ask for; an ablation is ReLoRA with one part switched off."""
    changes = ABLATIONS.get(variant, {})
    asked: dict[str, JsonValue] = {
        "strategy": RELORA if variant in ABLATIONS else variant,
        "refine": refine,
        "seed": seed,
        "search": changes.get("search"),
        "tuning": {"epochs": epochs, **_tuning(changes)},
    }
    return Readaptation.model_validate({name: value for name, value in asked.items() if value is not None})


def _tuning(changes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    tuning = changes.get("tuning", {})
    return tuning if isinstance(tuning, dict) else {}


def parts(chains: Sequence[str], seeds: Sequence[int], epochs: int, shelf: Shelf) -> Iterator[Part]:
    """Yield one part for each cell, and the rows once all are there."""
    cells: dict[Key, Cell] = {}

    def one(key: Key, chain: Chain) -> list[Row]:
        asked = readaptation(key.variant, key.refine, seed=key.seed, epochs=epochs)
        cells[key] = shelf.cell(recipe(chain, key.variant, asked, GATES), chain)
        return []

    for name in chains:
        chain = open_chain(name)
        for seed in seeds:
            for variant, refine in variants():
                key = Key(name, seed, variant, refine)
                goal = "to its gate" if refine == READY else "to its end"
                yield Part(f"{name}, seed {seed}: {variant} {goal}", partial(one, key, chain))
    yield Part("strategies", lambda: list(rows(cells)))


def rows(cells: Cells) -> Iterator[Row]:
    """Yield the table's rows from finished cells."""
    yield from _readiness(cells)
    for chain in sorted({key.chain for key in cells}):
        yield from _quality({key: cell for key, cell in cells.items() if key.chain == chain}, chain)
    yield from _search(_of(cells, RELORA, END))


def _readiness(cells: Cells) -> Iterator[Row]:
    ours = _of(cells, RELORA, READY)
    for name, faster in _FASTER.items():
        theirs = _of(cells, name, READY)
        never = sum(not cell.ready for cell in theirs)
        note = f", {never} of {len(theirs)} never ready: at least" if never else ""
        title = f"time to readiness, {name} ÷ ReLoRA{note}"
        if not all(cell.ready for cell in ours):
            yield at_least(title, None, faster, "×")
            continue
        ratios = [b.seconds_to_readiness / a.seconds_to_readiness for a, b in zip(ours, theirs, strict=True)]
        total = sum(cell.seconds_to_readiness for cell in theirs) / sum(cell.seconds_to_readiness for cell in ours)
        yield with_interval(at_least(title, total, faster, "×"), ratios)
    for name in TO_READINESS:
        found = _of(cells, name, READY)
        yield measured(
            f"{name}: re-adaptations that passed their gate", sum(cell.ready for cell in found), f"of {len(found)}"
        )
        yield observed(f"{name}: seconds until then", [cell.seconds_to_readiness for cell in found], "s")
        yield observed(f"{name}: optimizer steps until then", [cell.steps_to_readiness for cell in found], "steps")


def _quality(cells: Cells, chain: str) -> Iterator[Row]:
    ours = _of(cells, RELORA, END)
    old = over_seeds([cell.reference for cell in ours])
    yield _accuracy(f"{chain}: accuracy of the old adapter on its own base", old)
    for name in (RELORA, FINE_TUNE, SCRATCH):
        yield _accuracy(f"{chain}: final accuracy, {name}", _answers(_of(cells, name, END)))
    for name in (FINE_TUNE, SCRATCH):
        value, low, high = points(_answers(ours), _answers(_of(cells, name, END)))
        row = measured(f"{chain}: final accuracy, ReLoRA − {name}", value, "points")
        verdict = {"target": f"lower end ≥ {_POINTS:g}", "met": low >= _POINTS}
        yield row.model_copy(update={"low": low, "high": high, **verdict})
    for name in ABLATIONS:
        mine, theirs = _answers(ours), _answers(_of(cells, name, END))
        tokens = [answer.tokens for answer in mine]
        found = paired_difference([answer.nll for answer in mine], [answer.nll for answer in theirs], tokens)
        ends = {"low": found.value - Z * found.standard_error, "high": found.value + Z * found.standard_error}
        yield measured(f"{chain}: final loss, ReLoRA − {name}", found.value, "nats/token").model_copy(update=ends)


def _search(cells: Sequence[Cell]) -> Iterator[Row]:
    """Yield what the search took, in full probes, and what it gained on its own examples."""
    probes = [report.probes for cell in cells for report in cell.reports if report.probes]
    full = [sum(probe.count for probe in found) / max(probe.count for probe in found) for found in probes]
    yield with_interval(at_most("search, full-probe equivalents", statistics.mean(full), _PROBES), full)
    gains = []
    for found in probes:
        whole = [probe for probe in found if probe.count == found[0].count]
        gains.append(float(found[0].loss) - min(float(probe.loss) for probe in whole))
    yield observed("search, loss of (0, 1) − best loss, on its own examples", gains, "nats/token")


@dataclass(frozen=True)
class Average:
    """What the adapters of all seeds did on one test example, on average."""

    key: str
    correct: float
    nll: float
    tokens: int


def over_seeds(answers: Sequence[Sequence[Answer]]) -> list[Average]:
    """Return the averages over seeds by example: it is the examples that are independent, not the seeds' answers.

    Raises:
        ValueError: The seeds did not answer the same examples.
    """
    found = []
    for same in zip(*answers, strict=True):
        if len({answer.key for answer in same}) > 1:
            raise ValueError("the answers are not to the same examples")
        correct = statistics.mean(answer.correct for answer in same)
        nll = statistics.mean(answer.nll for answer in same)
        found.append(Average(same[0].key, correct, nll, same[0].tokens))
    return found


def points(mine: Sequence[Average], theirs: Sequence[Average]) -> tuple[float, float, float]:
    """Return the paired difference of two accuracies in points, and its 95 % interval over the test examples.

    Raises:
        ValueError: The two did not answer the same examples.
    """
    if [answer.key for answer in mine] != [answer.key for answer in theirs]:
        raise ValueError("the answers are not to the same examples")
    differences = [100.0 * (a.correct - b.correct) for a, b in zip(mine, theirs, strict=True)]
    value, half = statistics.mean(differences), Z * statistics.stdev(differences) / math.sqrt(len(differences))
    return value, value - half, value + half


def _accuracy(name: str, answers: Sequence[Average]) -> Row:
    """Return an accuracy in percent with Wilson's interval."""
    n, share = len(answers), statistics.mean(answer.correct for answer in answers)
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    ends = {"low": 100 * (middle - half), "high": 100 * (middle + half)}
    return measured(name, 100 * share, "%").model_copy(update=ends)


def _answers(cells: Sequence[Cell]) -> list[Average]:
    return over_seeds([cell.answers for cell in cells])


def _of(cells: Cells, variant: str, refine: str) -> list[Cell]:
    """Return the cells of a variant by chain and seed."""
    found = {
        (key.chain, key.seed): cell for key, cell in cells.items() if (key.variant, key.refine) == (variant, refine)
    }
    return [found[key] for key in sorted(found)]

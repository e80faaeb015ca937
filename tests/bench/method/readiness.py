"""Rows about the time to readiness: how long each strategy takes to its gate, and how often the old adapter passes."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bench.method.answers import share_row
from bench.method.cellset import CellSet, Pair
from bench.method.resampling import over_tasks_and_seeds
from bench.method.timing import observed
from bench.method.variants import FINE_TUNE, PORT, RELORA, SCRATCH, STRATEGIES
from bench.results import Row, at_least, at_most, measured

T = TypeVar("T")
FASTER = {SCRATCH: 5.0, FINE_TUNE: 1.5}


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the ratios over all updates and over each, and the seconds of each strategy on each task."""
    for name, faster in FASTER.items():
        pairs = _pairs(cells, name)
        if not pairs:
            continue
        title, tasks = _ratio_name(name), len(cells.tasks)
        yield _with_ratio(partial(at_least, title + _note(pairs), limit=faster, unit="×"), pairs)
        yield _with_ratio(partial(measured, f"{title}, the delta shared by {tasks} adapters", unit="×"), pairs, tasks)
        for update in cells.updates:
            if on_update := _pairs(cells.on(update=update), name):
                title = ratio_name(name, update) + _note(on_update)
                yield _with_ratio(partial(measured, title, unit="×"), on_update)
    yield from _slower(_pairs(cells, FINE_TUNE))
    for update in cells.updates:
        if ported := cells.on(update=update).of(PORT):
            yield share_row(f"{ported_name(update)}, {len(ported)} adapters", [cell.ready for cell in ported])
        for task in cells.tasks:
            yield from _seconds(cells.on(update=update, task=task), task, update)


def _pairs(cells: CellSet, theirs: str) -> list[list[Pair]]:
    """Return the pairs whose times can be compared: a run that went on on another machine has others, too."""
    groups = cells.pairs(RELORA, theirs)
    same = [[(a, b) for a, b in group if a.machine["processor"] == b.machine["processor"]] for group in groups]
    return [group for group in same if group]


def ratio_name(variant: str, update: str) -> str:
    """Return how the name of the row of a strategy's ratio on one update begins."""
    return f"{update} update: {_ratio_name(variant)}"


def ported_name(update: str) -> str:
    """Return how the name of the row with the share of adapters that pass unchanged begins."""
    return f"{update} update: PortLLM alone passes its gate"


def seconds_name(task: str, update: str, variant: str) -> str:
    """Return the name of the row with the seconds of a strategy."""
    return f"{task}, {update} update: seconds until ready, {variant}"


def _ratio_name(variant: str) -> str:
    return f"time to readiness, {variant} ÷ ReLoRA"


def _note(pairs: Sequence[Sequence[Pair]]) -> str:
    """Say how many pairs there are, and in how many a side was never ready: those count with all that they took."""
    flat = _flat(pairs)
    ours, theirs = (sum(not pair[side].ready for pair in flat) for side in (0, 1))
    never = f"; never ready: {ours} of ReLoRA, {theirs} of the other" if ours or theirs else ""
    return f" ({len(flat)} pairs{never})"


def _flat(pairs: Sequence[Sequence[T]]) -> list[T]:
    return [pair for group in pairs for pair in group]


@dataclass(frozen=True)
class _Times:
    """Seconds until ready, or of everything that was never ready; `delta` is part of `ours`."""

    ours: float
    theirs: float
    delta: float


def _times(pairs: Sequence[Sequence[Pair]]) -> list[list[_Times]]:
    return [[_Times(a.seconds_to_readiness, b.seconds_to_readiness, a.seconds_of_delta) for a, b in g] for g in pairs]


def _ratio(times: Sequence[_Times], sharing: int = 1) -> float:
    """Return the ratio of the summed seconds, a delta's counted once for so many adapters."""
    ours = sum(each.ours - each.delta * (1 - 1 / sharing) for each in times)
    return sum(each.theirs for each in times) / ours


def _with_ratio(row: Callable[[float], Row], pairs: Sequence[Sequence[Pair]], sharing: int = 1) -> Row:
    found = over_tasks_and_seeds(_times(pairs), partial(_ratio, sharing=sharing))
    ends = {"low": found.low, "high": found.high} if len(_flat(pairs)) > 1 else {}
    return row(found.value).model_copy(update=ends)


def _slower(pairs: Sequence[Sequence[Pair]]) -> Iterator[Row]:
    """Yield on how many tasks and updates ReLoRA took longer than plain fine-tuning with every seed."""
    if pairs:
        slower = sum(all(each.theirs < each.ours for each in group) for group in _times(pairs))
        name = f"tasks and updates, of {len(pairs)}, on which ReLoRA was slower than {FINE_TUNE} with every seed"
        yield at_most(name, slower, 0)


def _seconds(cells: CellSet, task: str, update: str) -> Iterator[Row]:
    for name in STRATEGIES:
        if found := cells.of(name):
            ready = sum(cell.ready for cell in found)
            title = seconds_name(task, update, name)
            yield observed(title, [cell.seconds_to_readiness for cell in found], f"s, {ready} of {len(found)} ready")
            steps = statistics.median(cell.steps_to_readiness for cell in found)
            yield measured(f"{task}, {update} update: optimizer steps until then, {name}", steps, "steps")

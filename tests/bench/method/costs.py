"""Rows about what a re-adaptation costs to its end: the seconds of each strategy, and the parts of ReLoRA's.

Its end is that of the last step, whether the adapter was ready before or never: the paper's end-to-end rollout time.
"""

from collections.abc import Iterator
from statistics import fmean

from bench.method import spending
from bench.method.cellset import CellSet, by_task
from bench.method.intervals import mean
from bench.method.variants import FINE_TUNE, PORT, RELORA, SCRATCH
from bench.method.wording import counted
from bench.results import Row, measured
from relora_contract.report import Seconds


def rows(cells: CellSet) -> Iterator[Row]:
    """Yield the ratios of the seconds of all steps, then ReLoRA's shares of load, project, search and so on."""
    for name in (FINE_TUNE, SCRATCH, PORT):
        if times := spending.of_all_steps(cells.pairs(RELORA, name)):
            pairs, tasks = spending.pairs_and_tasks(times)
            of_what = f"{counted(pairs, 'pair')}, {counted(tasks, 'task')}"
            yield spending.ratio_row(f"seconds of all steps, {name} ÷ ReLoRA, {of_what}", times)
    yield from _parts(cells)


def _parts(cells: CellSet) -> Iterator[Row]:
    """Yield the share of each part: of a task the mean over its updates and their seeds, and then over the tasks."""
    places = {place: list(seeds.values()) for place, seeds in cells.places(RELORA).items()}
    tasks = by_task(places).values()
    for part in Seconds.model_fields if places else ():
        shares = [
            fmean(fmean(100 * cell.seconds_by_part[part] / cell.seconds for cell in seeds) for seeds in updates)
            for updates in tasks
        ]
        found = mean(shares)
        title = f"of the seconds of all steps of ReLoRA: {part}, {counted(len(shares), 'task')}"
        yield measured(title, found.value, "%", found.ends)

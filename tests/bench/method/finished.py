"""What is finished of a run, measured in one way; and what a table says of how and when that was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench import results
from bench.method.cells import Cell, Trainer
from bench.method.shelf import Failure, Measured
from bench.method.variants import Key

_KIND = ("processor", "cores", "memory")
"""What of a machine makes it one of a kind."""
_SAID = (*_KIND, "kernel")
_MINUTES = 16
"""Characters of a timestamp up to its minutes."""


class MixedError(ValueError):
    """What is finished comes from different trainers, or from different inputs, and cannot be compared."""


@dataclass(frozen=True)
class Finished:
    """Cells, parts and failures of a run.

    All cells are of one trainer. The code of each part may be another, and so may the precision of all parts: a part
    holds both sides of what it compares, and takes minutes where the cells take days.

    Raises:
        MixedError: The trainer of one cell or part is not that of another, or the inputs of two cells of one chain
            differ, or the searches of the bench in two cells of one variant; the message names what differs, and where.
    """

    cells: Mapping[Key, Cell]
    parts: Sequence[Measured]
    failures: Sequence[Failure]

    def __post_init__(self) -> None:
        trainers = dict(self._trainers())
        of_cells = {str(key): cell.recipe.trainer for key, cell in self.cells.items()}
        for field in ("code", "placement"):
            _check_same(field, {name: getattr(trainer, field) for name, trainer in of_cells.items()})
        _check_same("placement", {part.name: part.trainer.placement for part in self.parts})
        _check_same("threads", {name: trainer.threads for name, trainer in trainers.items()})
        for package in sorted({package for trainer in trainers.values() for package in trainer.versions}):
            _check_same(package, {name: trainer.versions.get(package) for name, trainer in trainers.items()})
        recipes = {str(key): cell.recipe for key, cell in self.cells.items()}
        for chain in {recipe.chain for recipe in recipes.values()}:
            _check_same("inputs", {name: found.inputs for name, found in recipes.items() if found.chain == chain})
        for variant in {recipe.variant for recipe in recipes.values()}:
            code = {name: found.search_code for name, found in recipes.items() if found.variant == variant}
            _check_same("search code", code)

    @property
    def trainer(self) -> Trainer:
        """That of the cells, or of the parts where no cell is finished, or of this checkout where nothing is."""
        return next((trainer for _, trainer in self._trainers()), None) or Trainer.here()

    @property
    def failed(self) -> int:
        """How many cells this trainer could not carry out."""
        return sum(failure.recipe.trainer == self.trainer for failure in self.failures)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages, and the first digits of the digests of the code of all trainers."""
        own = self.trainer.code[:12]
        others = _of_parts("trainer", own, [part.trainer.code[:12] for part in self.parts])
        return {**self.trainer.versions, "trainer": own, **others}

    @property
    def date(self) -> str:
        """From when to when it was measured, in UTC to the minute."""
        reports = [report for cell in self.cells.values() for report in cell.reports]
        starts = [*(report.start_time for report in reports), *(part.date for part in self.parts)]
        ends = [*(report.end_time for report in reports), *(part.date for part in self.parts)]
        if not starts:
            return results.now()
        first, last = (f"{moment[:_MINUTES]}Z" for moment in (min(starts), max(ends)))
        return first if first == last else f"{first} to {last}"

    @property
    def machine(self) -> dict[str, str]:
        """The machines, how busy they were, and what the trainer made of them.

        The load is the range of the averages over five minutes, each as it was when a cell or a part was finished.
        """
        found = [*(part.machine for part in self.parts), *(cell.machine for cell in self.cells.values())]
        machines = found or [results.machine()]
        kinds = {tuple(machine.get(name) for name in _KIND) for machine in machines}
        loads = [float(machine["load"].split()[1]) for machine in machines if "load" in machine]
        return {
            "kinds of machines": str(len(kinds)),
            **{name: said for name in _SAID if (said := _all_of(name, machines))},
            **({"load": f"{min(loads):.1f} to {max(loads):.1f}"} if loads else {}),
            "threads": str(self.trainer.threads),
            "placement": self.trainer.placement,
            **_of_parts("placement", self.trainer.placement, [part.trainer.placement for part in self.parts]),
        }

    def _trainers(self) -> Iterator[tuple[str, Trainer]]:
        yield from ((str(key), cell.recipe.trainer) for key, cell in self.cells.items())
        yield from ((part.name, part.trainer) for part in self.parts)


def _of_parts(name: str, of_cells: str, of_parts: Sequence[str]) -> dict[str, str]:
    """Return what is said of the parts where it is not what is said of the cells."""
    others = sorted(set(of_parts) - {of_cells})
    return {f"{name} of the parts on their own": " and ".join(others)} if others else {}


def _all_of(name: str, machines: Sequence[Mapping[str, str]]) -> str:
    return " and ".join(sorted({machine[name] for machine in machines if name in machine}))


def _check_same(what: str, values: Mapping[str, object]) -> None:
    """Raise MixedError, with two of the names, where not all values are the same."""
    first = next(iter(values), "")
    for name, found in values.items():
        if found != values[first]:
            raise MixedError(
                f"not of one trainer and one set of inputs: {what} is {values[first]} in {first!r}, {found} in {name!r}"
            )

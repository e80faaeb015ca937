"""The forms of the bench: the same code, with larger lists."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench.method import computing, fusing, packing, probing, projecting, startup, streaming, throughput, updatesize
from bench.method.chain import HARD, MILD, open_chain
from bench.method.parts import Part
from bench.method.searchers import GRID, PAPER
from bench.method.variants import ABLATIONS
from bench.results import Row


@dataclass(frozen=True)
class Form:
    """Sizes, counts and lists of one form.

    Attributes:
        matrix: Rows and columns of the matrices that are projected and streamed.
        tensors: Tensors of each streamed base; a multiple of four.
        modules: Rows and columns of the modules that are fused.
        rounds: Repetitions of what takes milliseconds.
        few_rounds: Repetitions of what takes seconds.
        probe_items: Validation examples of the probe.
        training_steps: Optimizer steps of one round of throughput.
        lengths: Of the texts of which a pass is computed in different ways, in tokens; none where it is not, as
            compiling a pass takes minutes.
        tasks: What is re-adapted for; the first also carries the probe and the training.
        updates: Sizes of the base's update; the first is measured most.
        seeds: Of the re-adaptations on the first update; the other updates, what ends when it is ready, and the
            ablations have the first of them.
        epochs: Of their training.
        with_until_ready: Whether the strategies are also measured as a binding has them by default, to their readiness.
        ablations: Which ones are measured.
    """

    matrix: int
    tensors: int
    modules: tuple[int, ...]
    rounds: int
    few_rounds: int
    probe_items: int
    training_steps: int
    lengths: tuple[int, ...]
    tasks: tuple[str, ...]
    updates: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    with_until_ready: bool
    ablations: tuple[str, ...]


FORMS = {
    "tiny": Form(64, 4, (48,), 2, 1, 16, 1, (8,), ("tiny",), (HARD,), (0,), 1, True, (PAPER, GRID)),
    "quick": Form(4096, 4, (1024, 2048), 3, 2, 128, 2, (), ("excerpt",), (HARD,), (0,), 2, True, ()),
    "full": Form(
        4096,
        16,
        (1024, 2048, 4096),
        15,
        6,
        160,
        4,
        (64, 512, 2048),
        ("sentiment", "author", "newsgroup", "news"),
        (HARD, MILD),
        (0, 1, 2),
        2,
        True,
        tuple(ABLATIONS),
    ),
}


def kernels(form: Form) -> Iterator[Part]:
    """Yield the parts of the method that are measured on their own."""
    yield _part("projection", projecting.rows, form.matrix, form.few_rounds)
    yield _part("streaming", streaming.rows, form.matrix, form.tensors, form.few_rounds)
    yield _part("fusion", fusing.rows, form.modules, form.rounds)
    yield _part("size of the updates", _sizes, form.tasks[0], form.updates)
    chain = form.tasks[0], form.updates[0]
    yield _part("probe", _on_chain(probing.rows), *chain, form.probe_items, form.few_rounds)
    training = (*chain, form.training_steps, form.few_rounds)
    yield _part("training throughput", _on_chain(throughput.rows), *training)
    yield _part("training throughput with packing", _on_chain(packing.rows), *training)
    if form.lengths:
        yield _part("computing", _on_chain(computing.rows), *chain, form.lengths, form.few_rounds)
    yield _part("start-up", _on_chain(startup.rows), *chain, form.few_rounds)


def _part(name: str, rows: Callable[..., Iterable[Row]], *settings: object) -> Part:
    return Part(name, partial(rows, *settings), repr(settings))


def _on_chain(rows: Callable[..., Iterable[Row]]) -> Callable[..., Iterable[Row]]:
    """Return what takes the names of a task and an update where `rows` takes a chain, and opens it."""

    def opened(task: str, update: str, *settings: object) -> Iterable[Row]:
        return rows(open_chain(task, update), *settings)

    return opened


def _sizes(task: str, updates: Sequence[str]) -> Iterable[Row]:
    return updatesize.rows([open_chain(task, update) for update in updates])

"""The forms of the bench: the same code, with larger lists."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bench.method import fusing, packing, probing, projecting, startup, streaming, throughput
from bench.method.chain import HARD, MILD, Chain, open_chain
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
        tasks: What is re-adapted for; the first also carries the probe and the training.
        updates: Sizes of the base's update; the first is measured most.
        seeds: Of the re-adaptations on the first update; the others have the first of them.
        epochs: Of their training.
        ablations: Which ones are measured.
    """

    matrix: int
    tensors: int
    modules: tuple[int, ...]
    rounds: int
    few_rounds: int
    probe_items: int
    training_steps: int
    tasks: tuple[str, ...]
    updates: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    ablations: tuple[str, ...]


FORMS = {
    "tiny": Form(64, 4, (48,), 2, 1, 16, 1, ("tiny",), (HARD,), (0,), 1, (PAPER, GRID)),
    "quick": Form(4096, 4, (1024, 2048), 3, 2, 128, 2, ("excerpt",), (HARD,), (0,), 2, ()),
    "full": Form(
        4096,
        16,
        (1024, 2048, 4096),
        15,
        6,
        160,
        4,
        ("sentiment", "author", "newsgroup", "news"),
        (HARD, MILD),
        (0, 1, 2),
        2,
        tuple(ABLATIONS),
    ),
}


def kernels(form: Form) -> Iterator[Part]:
    """Yield the parts of the method that are measured on their own."""
    yield Part("projection", partial(projecting.rows, form.matrix, form.few_rounds))
    yield Part("streaming", partial(streaming.rows, form.matrix, form.tensors, form.few_rounds))
    yield Part("fusion", partial(fusing.rows, form.modules, form.rounds))
    on_chain: Mapping[str, Callable[[Chain], Iterable[Row]]] = {
        "probe": partial(probing.rows, items=form.probe_items, rounds=form.few_rounds),
        "training throughput": partial(throughput.rows, steps=form.training_steps, rounds=form.few_rounds),
        "training throughput with packing": partial(packing.rows, steps=form.training_steps, rounds=form.few_rounds),
        "start-up": partial(startup.rows, rounds=form.few_rounds),
    }
    for name, rows in on_chain.items():
        yield Part(name, partial(_opened, form, rows))


def _opened(form: Form, rows: Callable[[Chain], Iterable[Row]]) -> Iterable[Row]:
    return rows(open_chain(form.tasks[0], form.updates[0]))

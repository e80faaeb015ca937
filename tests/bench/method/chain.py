"""What is re-adapted: two releases of a base, an adapter made for the first, and its task."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from realdata import products
from realdata.cache import Product, cache_root, obtain
from relora_contract.task import Task

PARTS = ("train", "validation", "test")
MILD, HARD = "mild", "hard"


@dataclass(frozen=True)
class Chain:
    """The folders of one adapter's way from one release to the next, built or still to be built.

    Attributes:
        task_name: The task's, which is the adapter's too.
        update: Size of the base's update.
        old: The release that the adapter was made for.
        new: The next one.
        adapter: A PEFT folder.
        data: The task's files.
    """

    task_name: str
    update: str
    old: Path
    new: Path
    adapter: Path
    data: Path

    @property
    def name(self) -> str:
        """Task and update."""
        return f"{self.task_name}, {self.update} update"

    @property
    def task(self) -> Task:
        """The task as a binding states it."""
        return Task.model_validate(json.loads((self.data / "task.json").read_text()))


@dataclass(frozen=True)
class Family:
    """A base with its next releases, by the size of the update."""

    first: Product
    updates: Mapping[str, Product]


_REAL = Family(products.BASE_R1, {MILD: products.BASE_R2, HARD: products.BASE_R2_HARD})
_TINY = Family(products.TINY_R1, {HARD: products.TINY_R2})
TASKS: Mapping[str, tuple[Family, Product, Product]] = {
    "sentiment": (_REAL, products.ADAPTER_SENTIMENT, products.BENCH_SENTIMENT),
    "excerpt": (_REAL, products.ADAPTER_SENTIMENT, products.BENCH_EXCERPT),
    "author": (_REAL, products.ADAPTER_AUTHOR, products.BENCH_AUTHOR),
    "newsgroup": (_REAL, products.ADAPTER_NEWSGROUP, products.TASK_NEWSGROUP),
    "news": (_REAL, products.ADAPTER_NEWS, products.TASK_NEWS),
    "tiny": (_TINY, products.TINY_ADAPTER_KIND, products.TINY_TASK_KIND),
}


def chain_of(task: str, update: str) -> Chain:
    """Return a chain whose parts may still have to be built: their names tell what they will be."""
    root = cache_root()
    return Chain(task, update, *(root / product.folder_name for product in _products(task, update)))


def open_chain(task: str, update: str) -> Chain:
    """Return a chain, its parts built where the cache lacks them."""
    for product in _products(task, update):
        obtain(product, cache_root())
    return chain_of(task, update)


def _products(task: str, update: str) -> tuple[Product, ...]:
    family, adapter, data = TASKS[task]
    return family.first, family.updates[update], adapter, data

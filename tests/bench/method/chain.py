"""What is re-adapted: two releases of a base, an adapter made for the first, and its task."""

import json
from dataclasses import dataclass
from pathlib import Path

from realdata import products
from realdata.cache import Product, cache_root, obtain
from relora_contract.readaptation import Task

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Chain:
    """The folders of one adapter's way from one release to the next."""

    name: str
    old: Path
    new: Path
    adapter: Path
    data: Path

    @property
    def task(self) -> Task:
        """The task as a binding states it."""
        return Task.model_validate(json.loads((self.data / "task.json").read_text()))


_REAL = (products.BASE_R1, products.BASE_R2)
_TINY = (products.TINY_R1, products.TINY_R2)
CHAINS: dict[str, tuple[Product, Product, Product, Product]] = {
    "sentiment": (*_REAL, products.ADAPTER_SENTIMENT, products.TASK_SENTIMENT),
    "author": (*_REAL, products.ADAPTER_AUTHOR, products.TASK_AUTHOR),
    "tiny": (*_TINY, products.TINY_ADAPTER_KIND, products.TINY_TASK_KIND),
}


def open_chain(name: str) -> Chain:
    """Return a chain, its parts built where the cache lacks them."""
    root = cache_root()
    return Chain(name, *(obtain(product, root) for product in CHAINS[name]))

"""Products that are built once, kept by a key of their recipe, and rebuilt when they are absent."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from realdata.progress import Stage, stage

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True)
class Build:
    """What a build function is given: an empty folder to fill, the folders of its inputs by name, and its stage."""

    folder: Path
    inputs: Mapping[str, Path]
    stage: Stage


@dataclass(frozen=True)
class Product:
    """A folder of files that is determined by its recipe and its inputs.

    ``recipe`` names everything that determines the content, besides the code. Code whose result changes counts
    its ``version`` in the recipe up. ``machine`` adds what depends on the machine that builds it; it is asked when the
    key is needed.
    """

    name: str
    recipe: Mapping[str, JSON]
    build: Callable[[Build], None]
    inputs: tuple["Product", ...] = field(default=())
    machine: Callable[[], Mapping[str, JSON]] = field(default=dict)

    @property
    def key(self) -> str:
        """The first 12 hex digits of the sha256 of the recipe and of the inputs' keys."""
        recipe = {**self.recipe, **self.machine()}
        identity = {"name": self.name, "recipe": recipe, "inputs": [product.key for product in self.inputs]}
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def folder_name(self) -> str:
        """The product's folder below the cache's."""
        return f"{self.name}-{self.key}"


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of all products: ``realdata`` below ``RELORA_CACHE``, by default ``~/.cache/relora``."""
    return Path(environment.get("RELORA_CACHE") or Path.home() / ".cache" / "relora") / "realdata"


def obtain(product: Product, root: Path) -> Path:
    """Return the folder of ``product``, after building it and its inputs where they are absent from ``root``.

    A folder appears under its final name only when it is complete, so an interrupted build leaves nothing that looks
    like a product. Processes that want the same product at once wait for the first of them.
    """
    final = root / product.folder_name
    if final.is_dir():
        return final
    inputs = {needed.name: obtain(needed, root) for needed in product.inputs}
    root.mkdir(parents=True, exist_ok=True)
    with _exclusively(root / f".{product.folder_name}.lock"):
        if not final.is_dir():
            _build(product, inputs, final)
    return final


def _build(product: Product, inputs: Mapping[str, Path], final: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{product.folder_name}.", dir=final.parent))
    try:
        with stage(product.name) as running:
            product.build(Build(unfinished, inputs, running))
        _make_readable(unfinished)
        unfinished.rename(final)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _make_readable(folder: Path) -> None:
    """Let every user read: temporary folders and safetensors files are the owner's alone, and pods run as others."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def _exclusively(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

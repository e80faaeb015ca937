"""The project's own images, built from a checkout and pushed to a node's registry once per content."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.baseimages import KEPT, RECIPE_LABEL, debian_base, torch_base
from devcluster.images import ImageStore
from devcluster.progress import Report

_INPUTS_LABEL = "dev.relora.inputs"
_SHARED = ("pyproject.toml", ".dockerignore", "locks/build.txt", "operator/relora_contract", "operator/relora_store")


@dataclass(frozen=True)
class ProjectImages:
    """How pods refer to the images: by digest.

    Attributes:
        operator: The operator, with relora-fetch.
        trainer: The trainer, with torch for the CPU.
    """

    operator: str
    trainer: str


@dataclass(frozen=True)
class Recipe:
    """What an image is built from.

    Attributes:
        name: The image's name in registries.
        dockerfile: Relative to the repository.
        inputs: Files and folders that its content depends on.
        base: The image that it is built on.
        arguments: Further build arguments.
    """

    name: str
    dockerfile: str
    inputs: tuple[str, ...]
    base: str
    arguments: tuple[tuple[str, str], ...] = ()


def project_images(store: ImageStore, repository: Path, registry: str, report: Report) -> ProjectImages:
    """Build the operator's and the trainer's image and push them; what has not changed costs a second.

    Args:
        store: Where images are kept.
        repository: The root of the checkout.
        registry: Host and port of a node's registry.
        report: Takes lines of progress.

    Raises:
        DevclusterError: A build or a push failed.
    """
    lock = repository / "locks" / "trainer.txt"
    operator = Recipe(
        name="operator",
        dockerfile="operator/Dockerfile",
        inputs=(*_SHARED, "locks/operator.txt", "operator/relora_operator"),
        base=debian_base(store, report),
    )
    trainer = Recipe(
        name="trainer",
        dockerfile="trainer_image/Dockerfile",
        inputs=(*_SHARED, "locks/trainer.txt", "trainer_image/relora_trainer"),
        base=torch_base(store, lock, report),
        arguments=(("EXCLUDES", " ".join(locked_cuda_packages(lock.read_text()))),),
    )
    return ProjectImages(
        operator=provide(operator, store, repository, registry),
        trainer=provide(trainer, store, repository, registry),
    )


def locked_cuda_packages(lock: str) -> list[str]:
    """Return the packages of a lock's text that only a GPU needs, and that the torch base has stubs for."""
    names = re.findall(r"^((?:nvidia|cuda)-[a-z0-9-]+|triton)==", lock, re.MULTILINE)
    return [name for name in names if name not in KEPT]


def input_digest(repository: Path, inputs: Iterable[str], *further: str) -> str:
    """Return a digest of the names and bytes of files and folders of a checkout, and of further words."""
    digest = hashlib.sha256()
    for word in further:
        digest.update(f"{len(word)} {word}".encode())
    for path in sorted(path for each in inputs for path in _files(repository / each)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(repository)} {len(content)} ".encode() + content)
    return digest.hexdigest()


def provide(recipe: Recipe, store: ImageStore, repository: Path, registry: str) -> str:
    """Build an image unless it is there, push it, and return how pods refer to it."""
    image = f"localhost/relora-{recipe.name}"
    arguments = {"BASE_IMAGE": recipe.base, **dict(recipe.arguments)}
    base = store.label(recipe.base, RECIPE_LABEL) or ""
    inputs = input_digest(repository, (recipe.dockerfile, *recipe.inputs), json.dumps(arguments), base)
    if store.label(image, _INPUTS_LABEL) != inputs:
        store.build(image, repository / recipe.dockerfile, repository, arguments, {_INPUTS_LABEL: inputs})
    return store.push(image, recipe.name, registry)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts]

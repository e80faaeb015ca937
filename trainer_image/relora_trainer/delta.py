"""The delta artifact: Π_64 of every linear weight of the decoder blocks, once per pair of bases.

Two base folders are read one pair of tensors at a time and one file is written per decoder block, so that the peak
memory is that of the largest pair and of one block's factors, whatever the size of the model.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from relora_trainer.errors import IncompatibleError, IntegrityError, NonFiniteError
from relora_trainer.factors import Factors
from relora_trainer.projection import ITERATIONS, Projection, project
from relora_trainer.tensorfile import TensorEntry, TensorFile, open_model, open_tensors

MAX_RANK = 64
ALGORITHM = "randomized-subspace-iteration/1"
REPORT = "delta.json"
METADATA_KEY = "modules"
BLOCK = re.compile(r"(?P<stack>(?:.*\.)?layers)\.(?P<index>\d+)\..+")
MATRIX = 2
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class ModuleDelta:
    """What the projection of one module holds.

    Attributes:
        file: The file of the module's factors, in the artifact's folder.
        rank: Rank of the stored factors; 0 for an unchanged module, which has no tensors.
        energy: Share of ‖ΔW‖_F² in the stored factors.
        delta_norm: ‖ΔW‖_F.
        weight_norm: ‖W‖_F of the old base.
    """

    file: str
    rank: int
    energy: float
    delta_norm: float
    weight_norm: float


Progress = Callable[[str, int, int], None]
"""Called after each module with its name, the count of modules done and the count of all."""


def decoder_blocks(tensors: Mapping[str, TensorEntry]) -> dict[tuple[str, int], dict[str, TensorEntry]]:
    """Group the tensors of the decoder blocks by block, in order. Embeddings, final norm and head are left out."""
    blocks: dict[tuple[str, int], dict[str, TensorEntry]] = {}
    for name, entry in tensors.items():
        if match := BLOCK.fullmatch(name):
            blocks.setdefault((match["stack"], int(match["index"])), {})[name] = entry
    return dict(sorted(blocks.items()))


def linear_modules(tensors: Mapping[str, TensorEntry]) -> dict[str, tuple[int, int]]:
    """Return name and `(out, in)` of every linear module of the decoder blocks."""
    return {
        name.removesuffix(".weight"): (entry.shape[0], entry.shape[1])
        for block in decoder_blocks(tensors).values()
        for name, entry in block.items()
        if _is_linear(entry)
    }


def check_same_architecture(old: Mapping[str, TensorEntry], new: Mapping[str, TensorEntry]) -> None:
    """Compare names and shapes of the tensors of the decoder blocks.

    Raises:
        IncompatibleError: They differ, or there are none; the message names the first differences.
    """
    before = {name: entry.shape for block in decoder_blocks(old).values() for name, entry in block.items()}
    after = {name: entry.shape for block in decoder_blocks(new).values() for name, entry in block.items()}
    if not linear_modules(old):
        raise IncompatibleError("the old base has no linear weights named ….layers.<n>.….weight: unknown architecture")
    differences = [f"{name} is gone" for name in sorted(before.keys() - after.keys())]
    differences += [f"{name} is new" for name in sorted(after.keys() - before.keys())]
    differences += [
        f"{name} was {list(before[name])} and is {list(after[name])}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        tail = f"; and {more} more" if more > 0 else ""
        raise IncompatibleError(
            "the two bases have different architectures: " + "; ".join(differences[:SHOWN_DIFFERENCES]) + tail
        )


def compute_delta(
    old_base: Path, new_base: Path, out: Path, *, rank: int = MAX_RANK, progress: Progress | None = None
) -> dict[str, ModuleDelta]:
    """Write the delta artifact of two bases to the folder `out` and return what it holds, by module.

    Block files that `out` already holds are kept: an interrupted run continues where it stopped.

    Raises:
        IncompatibleError: The bases differ in the names or shapes of their decoder blocks.
        IntegrityError: A weights file is damaged.
        NonFiniteError: A weight holds NaN or infinity.
    """
    old, new = open_model(old_base), open_model(new_base)
    check_same_architecture(old, new)
    out.mkdir(parents=True, exist_ok=True)
    total = len(linear_modules(old))
    modules: dict[str, ModuleDelta] = {}
    for number, block in enumerate(decoder_blocks(old).values()):
        path = out / f"block-{number:05d}.safetensors"
        if not path.is_file():
            tensors: dict[str, Tensor] = {}
            described: dict[str, ModuleDelta] = {}
            for entry in sorted(filter(_is_linear, block.values()), key=lambda entry: (entry.path, entry.offset)):
                name = entry.name.removesuffix(".weight")
                projection, weight_norm = _project_pair(entry, new[entry.name], rank)
                described[name] = ModuleDelta(
                    file=path.name,
                    rank=projection.factors.rank,
                    energy=projection.energy(),
                    delta_norm=projection.norm,
                    weight_norm=weight_norm,
                )
                if projection.factors.rank:
                    tensors |= {f"{name}.lora_A": projection.factors.a, f"{name}.lora_B": projection.factors.b}
                if progress:
                    progress(name, len(modules) + len(described), total)
            _write_block(path, tensors, described)
        modules |= _described(open_tensors(path))
    report = {
        "algorithm": ALGORITHM,
        "iterations": ITERATIONS,
        "rank": rank,
        "modules": {name: asdict(module) for name, module in modules.items()},
    }
    (out / REPORT).write_text(json.dumps(report, indent=1))
    return modules


@dataclass(frozen=True)
class Delta:
    """A delta artifact on disk."""

    folder: Path
    modules: Mapping[str, ModuleDelta]

    def factors(self, modules: Iterable[str]) -> dict[str, Factors]:
        """Return the stored factors of those `modules` that changed, read from the files that hold them."""
        wanted = [name for name in modules if name in self.modules and self.modules[name].rank]
        files = {file: open_tensors(self.folder / file) for file in {self.modules[name].file for name in wanted}}
        found: dict[str, Factors] = {}
        for name in wanted:
            tensors = files[self.modules[name].file].tensors
            try:
                found[name] = Factors(tensors[f"{name}.lora_A"].read(), tensors[f"{name}.lora_B"].read())
            except KeyError as error:
                raise IntegrityError(f"the delta artifact lacks the factors of {name}") from error
        return found

    def captured_energy(self, factors: Mapping[str, Factors], ranks: Mapping[str, int]) -> dict[str, float]:
        """Return by module the share of ‖ΔW‖_F² that Π_r holds, Σ_{i≤r} s_i² / ‖ΔW‖_F².

        The stored factors are balanced, so that row i of A = √S·Vᵀ has the squared norm s_i.

        Args:
            factors: What `factors` returned for these modules; a module that it lacks is unchanged.
            ranks: r by module; above the stored rank the share is that of the stored factors.
        """
        found: dict[str, float] = {}
        for name, rank in ranks.items():
            if name in factors:
                pair = factors[name]
                singular_values = pair.a.square().sum(1)
                found[name] = Projection(pair, singular_values, self.modules[name].delta_norm).energy(rank)
            elif name in self.modules:
                found[name] = self.modules[name].energy
        return found


def open_delta(folder: Path) -> Delta:
    """Open the delta artifact in `folder`.

    Raises:
        IntegrityError: Its report is missing or malformed.
    """
    try:
        report = json.loads((folder / REPORT).read_text())
        modules = {name: ModuleDelta(**module) for name, module in report["modules"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"the delta artifact has no readable {REPORT}") from error
    return Delta(folder, modules)


def _is_linear(entry: TensorEntry) -> bool:
    return entry.name.endswith(".weight") and len(entry.shape) == MATRIX


def _project_pair(old: TensorEntry, new: TensorEntry, rank: int) -> tuple[Projection, float]:
    """Project one module's delta, in float32 from the stored precision; also return ‖W‖_F."""
    before, after = old.read(), new.read()
    weight_norm = _finite_norm(before, old.name, "old")
    unchanged = before.dtype == after.dtype and torch.equal(before, after)
    if unchanged:
        delta = torch.zeros(old.shape)
    else:
        _finite_norm(after, new.name, "new")
        delta = after.float() - before.float()
    return project(delta, rank, name=old.name), weight_norm


def _finite_norm(weight: Tensor, name: str, base: str) -> float:
    norm = float(torch.linalg.vector_norm(weight.float(), dtype=torch.float64))
    if not math.isfinite(norm):
        raise NonFiniteError(f"{name} of the {base} base holds NaN or infinity")
    return norm


def _write_block(path: Path, tensors: Mapping[str, Tensor], described: Mapping[str, ModuleDelta]) -> None:
    # One entry: the library writes several in a random order, and equal artifacts must have equal bytes.
    described_json = json.dumps({name: asdict(module) for name, module in described.items()})
    partial = path.with_suffix(".partial")
    save_file(dict(tensors), partial, metadata={METADATA_KEY: described_json})
    partial.replace(path)


def _described(file: TensorFile) -> dict[str, ModuleDelta]:
    return {name: ModuleDelta(**module) for name, module in json.loads(file.metadata[METADATA_KEY]).items()}

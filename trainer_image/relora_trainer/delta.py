"""The delta artifact: Π_64 of every linear weight of the decoder blocks, once per pair of bases.

Two base folders are read one pair of tensors at a time and one file is written per decoder block, so that the peak
memory is that of the largest pair and of one block's factors, whatever the size of the model.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from relora_trainer.blocks import LinearWeight, check_same_blocks, open_base
from relora_trainer.errors import IntegrityError, NonFiniteError
from relora_trainer.factors import Factors
from relora_trainer.placement import Placement
from relora_trainer.ports import Checkpoints
from relora_trainer.projection import TOLERANCE, Projection, frobenius_norm, project, row_norms
from relora_trainer.tensorfile import TensorEntry, TensorFile, open_tensors

MAX_RANK = 64
ALGORITHM = "randomized-block-krylov/1"
REPORT = "delta.json"
METADATA_KEY = "modules"


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


CPU = Placement(torch.device("cpu"), torch.float32)

BLOCK_ELEMENTS = 1 << 18
"""Elements that are subtracted at a time; in float32 they fit the cache of a core."""

UNFINISHED = "unfinished.safetensors"
"""The modules of the block that is under way; in no artifact."""

Progress = Callable[[str, int, int], None]
"""Called after each module with its name, the count of modules done and the count of all."""


def compute_delta(
    old_base: Path,
    new_base: Path,
    out: Path,
    *,
    rank: int = MAX_RANK,
    placement: Placement = CPU,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, ModuleDelta]:
    """Write the delta artifact of two bases to the folder `out` and return what it holds, by module.

    What `out` already holds is kept: an interrupted run continues where it stopped.

    Args:
        old_base: Θ.
        new_base: Θ′.
        out: The artifact's folder; with `checkpoints`, also theirs.
        rank: r of Π_r.
        placement: Where it computes, and the precision of the iteration that finds the space to project onto.
        progress: Told about every module.
        checkpoints: Asked after every module.

    Raises:
        IncompatibleError: The bases differ in the names or shapes of their decoder blocks.
        IntegrityError: A weights file is damaged.
        NonFiniteError: A weight holds NaN or infinity.
    """
    old, new = open_base(old_base), open_base(new_base)
    check_same_blocks(old, new)
    out.mkdir(parents=True, exist_ok=True)
    total = len(old.linear_shapes)
    modules: dict[str, ModuleDelta] = {}
    pairs = _Pairs(placement, rank)
    for number, block in enumerate(old.blocks):
        path = out / f"block-{number:05d}.safetensors"
        if not path.is_file():
            unfinished = out / UNFINISHED
            tensors, described = _read_block(unfinished, path.name)
            after = new.linear(block)
            for name, weight in old.linear(block).items():
                if name in described:
                    continue
                projection, weight_norm = pairs.project(f"{name}.weight", weight, after[name])
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
                if checkpoints and checkpoints.is_due():
                    _write_block(unfinished, tensors, described)
                    checkpoints.save()
            _write_block(path, tensors, described)
            unfinished.unlink(missing_ok=True)
        modules |= _described(open_tensors(path))
    report = {
        "algorithm": ALGORITHM,
        "tolerance": TOLERANCE,
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


class _Pairs:
    """Projects one pair of weights after the other, in float32 from the stored precision.

    The difference is read and taken a few rows at a time, into memory that stays: only one whole matrix is ever held,
    with its rounding where the iteration has use for it, and fresh memory for every matrix would cost more than the
    arithmetic.
    """

    def __init__(self, placement: Placement, rank: int) -> None:
        self._rank = rank
        self._memory = {
            dtype: torch.empty(0, dtype=dtype, device=placement.device) for dtype in (torch.float32, placement.dtype)
        }

    def project(self, name: str, old: LinearWeight, new: LinearWeight) -> tuple[Projection, float]:
        """Return Π_r of a module's delta, on the CPU, and ‖W‖_F of its old weight."""
        stored, weight_norm = self._difference(name, old.entry, new.entry)
        if not stored:
            rows, columns = old.shape
            nothing = Factors(torch.zeros(0, columns), torch.zeros(rows, 0))
            return Projection(nothing, torch.zeros(0), 0.0), weight_norm
        delta = {dtype: matrix.T if old.transposed else matrix for dtype, matrix in stored.items()}
        found = project(delta[torch.float32], self._rank, name=name, rounded=delta.get(torch.bfloat16))
        factors = Factors(found.factors.a.cpu(), found.factors.b.cpu())
        return Projection(factors, found.singular_values.cpu(), found.norm), weight_norm

    def _difference(
        self, name: str, before: TensorEntry, after: TensorEntry
    ) -> tuple[dict[torch.dtype, Tensor], float]:
        """Return W′ − W as the files lay it out, in each precision, or nothing when they are equal, and ‖W‖_F."""
        found = {dtype: self._room(dtype, before.shape) for dtype in self._memory}
        delta, rounded = found[torch.float32], found.get(torch.bfloat16)
        changed = before.dtype != after.dtype
        # Whole before the loop: a small tensor kept from each round would lie between the freed blocks, and hold the
        # heap apart by most of a matrix.
        old_norms, new_norms = delta.new_empty(2, before.shape[0])
        start = 0
        for stored, new in zip(before.blocks(BLOCK_ELEMENTS), after.blocks(BLOCK_ELEMENTS), strict=True):
            changed = changed or not torch.equal(stored, new)
            block = slice(start, start + len(stored))
            rows = delta[block]
            old = stored.to(rows)
            old_norms[block] = row_norms(old)
            new_norms[block] = row_norms(rows.copy_(new))
            rows -= old
            if rounded is not None:
                rounded[block] = rows
            start = block.stop
        weight_norm = _finite(old_norms, name, "old")
        _finite(new_norms, name, "new")
        return found if changed else {}, weight_norm

    def _room(self, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        count = math.prod(shape)
        if self._memory[dtype].numel() < count:
            self._memory[dtype] = self._memory[dtype].new_empty(count)
        return self._memory[dtype][:count].view(*shape)


def _finite(norms: Tensor, name: str, base: str) -> float:
    norm = frobenius_norm(norms)
    if not math.isfinite(norm):
        raise NonFiniteError(f"{name} of the {base} base holds NaN or infinity")
    return norm


def _write_block(path: Path, tensors: Mapping[str, Tensor], described: Mapping[str, ModuleDelta]) -> None:
    # One entry: the library writes several in a random order, and equal artifacts must have equal bytes.
    described_json = json.dumps({name: asdict(module) for name, module in described.items()})
    partial = path.with_suffix(".partial")
    save_file(dict(tensors), partial, metadata={METADATA_KEY: described_json})
    partial.replace(path)


def _read_block(path: Path, block: str) -> tuple[dict[str, Tensor], dict[str, ModuleDelta]]:
    """Return the modules in an unfinished block file, if it is of the block whose file will be named `block`."""
    if not path.is_file():
        return {}, {}
    file = open_tensors(path)
    described = _described(file)
    if any(module.file != block for module in described.values()):
        return {}, {}
    return {name: entry.read() for name, entry in file.tensors.items()}, described


def _described(file: TensorFile) -> dict[str, ModuleDelta]:
    return {name: ModuleDelta(**module) for name, module in json.loads(file.metadata[METADATA_KEY]).items()}

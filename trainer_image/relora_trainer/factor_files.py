"""Factors on disk in float32: the initialization that both stages are anchored at."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from relora_trainer.errors import IntegrityError
from relora_trainer.factors import Factors
from relora_trainer.tensorfile import open_tensors

FILE = "init.safetensors"


def write_factors(folder: Path, factors: Mapping[str, Factors]) -> None:
    """Write factors as `<module>.lora_A` and `<module>.lora_B`."""
    tensors: dict[str, Tensor] = {}
    for module, pair in factors.items():
        tensors |= {f"{module}.lora_A": pair.a.contiguous(), f"{module}.lora_B": pair.b.contiguous()}
    save_file(tensors, folder / FILE)


def read_factors(folder: Path) -> dict[str, Factors]:
    """Return what `write_factors` wrote.

    Raises:
        IntegrityError: The file is damaged, or one of a pair is missing.
    """
    tensors = open_tensors(folder / FILE).tensors
    modules = sorted({name.rpartition(".")[0] for name in tensors})
    try:
        return {
            module: Factors(tensors[f"{module}.lora_A"].read(), tensors[f"{module}.lora_B"].read())
            for module in modules
        }
    except KeyError as error:
        raise IntegrityError(f"{FILE} lacks {error}") from error

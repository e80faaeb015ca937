"""Factors on disk in float32: the initialization that both stages are anchored at."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file

from relora_trainer.errors import IntegrityError
from relora_trainer.factors import MAGNITUDE, Factors, named_tensors
from relora_trainer.tensorfile import open_tensors

FILE = "init.safetensors"


def write_factors(folder: Path, factors: Mapping[str, Factors]) -> None:
    """Write factors as `<module>.lora_A`, `<module>.lora_B` and, for DoRA, `<module>.lora_magnitude_vector`."""
    save_file({name: tensor.contiguous() for name, tensor in named_tensors(factors).items()}, folder / FILE)


def read_factors(folder: Path) -> dict[str, Factors]:
    """Return what `write_factors` wrote.

    Raises:
        IntegrityError: The file is damaged, or one of a pair is missing.
    """
    tensors = open_tensors(folder / FILE).tensors
    found: dict[str, Factors] = {}
    try:
        for module in sorted({name.rpartition(".")[0] for name in tensors}):
            magnitude = tensors.get(f"{module}.{MAGNITUDE}")
            found[module] = Factors(
                tensors[f"{module}.lora_A"].read(),
                tensors[f"{module}.lora_B"].read(),
                magnitude.read() if magnitude is not None else None,
            )
    except KeyError as error:
        raise IntegrityError(f"{FILE} lacks {error}") from error
    return found

"""The delta of two bases in shards, against reading the same files: rate, and what it needs of memory.

Each measurement is a process of its own (`python -m bench.method.streaming OLD NEW`), so that its peak memory is that
of the work and of the imports.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.method.timing import observed, reaches, seconds
from bench.results import Row, at_most, measured
from relora_trainer.delta import compute_delta
from relora_trainer.placement import choose_placement

_GIGABYTES_PER_SECOND = 0.7
_GROWTH = 1.1
_BUFFER = 1 << 24
PAGE = 4096
FLOAT32 = 4
BFLOAT16 = 2


@dataclass(frozen=True)
class Reading:
    """What one process measured.

    Attributes:
        imported: Peak memory after the imports, in bytes.
        peak: Peak memory at the end, in bytes.
        read_seconds: Reading both files and keeping nothing.
        delta_seconds: Computing and writing the delta.
    """

    imported: int
    peak: int
    read_seconds: float
    delta_seconds: float


def rows(size: int, tensors: int, rounds: int) -> Iterator[Row]:
    """Yield rate and memory for `(size, size)` weights in bfloat16, `tensors` of them, and for a quarter as many."""
    with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
        small, large = (_bases(Path(folder), size, count) for count in (tensors // 4, tensors))
        few = [_measure(*small) for _ in range(rounds)]
        many = [_measure(*large) for _ in range(rounds)]
    bytes_read = 2 * tensors * size * size * BFLOAT16 / 1e9
    yield reaches(
        "streamed projection, both files",
        [bytes_read / each.delta_seconds for each in many],
        _GIGABYTES_PER_SECOND,
        "GB/s",
    )
    yield observed("raw read of both files", [bytes_read / each.read_seconds for each in many], "GB/s")
    two_tensors = 2 * size * size * FLOAT32 / 2**20
    above = _above(many)
    yield at_most("peak memory above the torch import, two tensors being the target", above, two_tensors, "MiB")
    yield measured("the torch import", max(each.imported for each in many) / 2**20, "MiB")
    growth = above / _above(few)
    yield at_most("peak memory above the torch import for a file four times as large", growth, _GROWTH, "×")


def _above(readings: Sequence[Reading]) -> float:
    """Return the most memory that a process took beside its imports, in MiB; a page where the work fits into them."""
    return max(PAGE, *(each.peak - each.imported for each in readings)) / 2**20


def _bases(folder: Path, size: int, tensors: int) -> tuple[Path, Path]:
    """Write two bases of one tensor a block in one shard each."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(size, size, generator=generator)
    change = 0.01 * torch.randn(size, 64, generator=generator) @ torch.randn(64, size, generator=generator)
    paths = []
    for name, value in (("old", weight), ("new", weight + change)):
        base = folder / f"{name}-{tensors}"
        base.mkdir()
        (base / "config.json").write_text("{}")
        stored = value.to(torch.bfloat16)
        named = {f"model.layers.{number}.mlp.up_proj.weight": stored.clone() for number in range(tensors)}
        save_file(named, base / "model.safetensors")
        paths.append(base)
    return paths[0], paths[1]


def _measure(old: Path, new: Path) -> Reading:
    command = [sys.executable, "-m", "bench.method.streaming", str(old), str(new)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Reading(**json.loads(done.stdout))


def main(old: Path, new: Path) -> None:
    """Print the `Reading` of two bases as JSON."""
    imported = _peak()
    files = [folder / "model.safetensors" for folder in (old, new)]
    read_seconds = seconds(lambda: _read(files))
    with tempfile.TemporaryDirectory(dir=old.parent) as out:
        delta_seconds = seconds(lambda: compute_delta(old, new, Path(out), placement=choose_placement()))
    print(json.dumps(asdict(Reading(imported, _peak(), read_seconds, delta_seconds))))


def _peak() -> int:
    """Return the peak of the process since it was executed; that of getrusage includes its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _read(files: list[Path]) -> None:
    buffer = bytearray(_BUFFER)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

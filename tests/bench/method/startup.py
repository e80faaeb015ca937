"""From nothing to a session that can train: for the first adapter of a base, and for the second.

Each start is a process of its own (`python -m bench.method.startup TASK UPDATE WORK DIGEST`), as every adapter's Job
has one. The second finds the base fetched and in the page cache.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.method.chain import Chain, open_chain
from bench.method.timing import observed, seconds, spread
from bench.results import Row, at_most
from relora_contract.artifacts import ArtifactRef
from relora_store.digest import digest_of_uri
from relora_store.filesystems import Filesystems
from relora_trainer.adapter import read_adapter
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.blocks import open_base
from relora_trainer.placement import choose_placement
from relora_trainer.session import open_session
from relora_trainer.workspace import Workspace

_SHARE = 25.0


def rows(chain: Chain, rounds: int) -> Iterator[Row]:
    """Yield the second start as a share of the first, then the same without the imports, which every process pays."""
    digest = digest_of_uri(Filesystems(), f"file://{chain.new}").digest
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
            found.append((_start(chain, folder, digest), _start(chain, folder, digest)))
    yield observed("start-up of the first adapter of a base", [first.seconds for first, _ in found], "s")
    share = spread([100 * second.seconds / first.seconds for first, second in found])
    yield at_most("start-up of the second on the warm base, of the first's", share.value, _SHARE, "%", share.ends)
    imports = [second.seconds - second.imported for _, second in found]
    yield observed("the interpreter and the imports in the second start", imports, "s")
    imported = [100 * second.imported / first.imported for first, second in found]
    yield observed("start-up of the second without them, of the first's", imported, "%")


@dataclass(frozen=True)
class Start:
    """One start: the whole process, and what it took after its imports."""

    seconds: float
    imported: float


def _start(chain: Chain, folder: str, digest: str) -> Start:
    command = [sys.executable, "-m", "bench.method.startup", chain.task_name, chain.update, folder, digest]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Start(time.perf_counter() - begun, float(done.stdout))


def main(task: str, update: str, folder: Path, digest: str) -> None:
    """Do what a step does until it can score and train: fetch and verify, read, load."""
    chain = open_chain(task, update)
    workspace = Workspace(folder / "work", StoreArtifacts(f"file://{folder}/store"))
    base = workspace.base(ArtifactRef(uri=f"file://{chain.new}", digest=digest))
    adapter = read_adapter(chain.adapter, open_base(base).linear_shapes)
    ranks = {module: factors.rank for module, factors in adapter.factors.items()}
    open_session(base, ranks, chain.task, choose_placement())


if __name__ == "__main__":
    task, update, folder, digest = sys.argv[1:]
    print(seconds(lambda: main(task, update, Path(folder), digest)))

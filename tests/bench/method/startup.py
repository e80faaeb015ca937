"""From nothing to a session that can train: for the first adapter of a base, and for the second.

Each start is a process of its own (`python -m bench.method.startup TASK UPDATE WORK DIGEST`), as every adapter's Job
has one. The second finds the base fetched and in the page cache.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.method.chain import Chain, open_chain
from bench.method.timing import observed, seconds, with_interval
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
    """Yield the second start as a share of the first."""
    digest = digest_of_uri(Filesystems(), f"file://{chain.new}").digest
    firsts, shares = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
            first, second = (seconds(partial(_start, chain, folder, digest)) for _ in range(2))
        firsts.append(first)
        shares.append(100 * second / first)
    yield observed("start-up of the first adapter of a base", firsts, "s")
    share = at_most("start-up of the second on the warm base, of the first's", statistics.median(shares), _SHARE, "%")
    yield with_interval(share, shares)


def _start(chain: Chain, folder: str, digest: str) -> None:
    command = [sys.executable, "-m", "bench.method.startup", chain.task_name, chain.update, folder, digest]
    subprocess.run(command, check=True, capture_output=True)


def main(task: str, update: str, folder: Path, digest: str) -> None:
    """Do what a step does until it can score and train: fetch and verify, read, load."""
    chain = open_chain(task, update)
    workspace = Workspace(folder / "work", StoreArtifacts(f"file://{folder}/store"))
    base = workspace.base(ArtifactRef(uri=f"file://{chain.new}", digest=digest))
    adapter = read_adapter(chain.adapter, open_base(base).linear_shapes)
    ranks = {module: factors.rank for module, factors in adapter.factors.items()}
    open_session(base, ranks, chain.task, choose_placement())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])

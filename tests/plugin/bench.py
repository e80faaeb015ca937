"""How long a plan takes: `python -m plugin.bench 5000` starts the command's process and plans a fleet in memory.

Measured are the start of the program, reading the fleet from the text of an API server's pages, and the plan with its
text. What the network and a real API server add is not in it.
"""

import asyncio
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime

from fleet.builders import make_release
from plugin.big import big_shelf
from plugin.shelf import Shelf
from relora_kubectl.cluster import Cluster
from relora_kubectl.looks import look_around
from relora_kubectl.plan import plan_view
from relora_kubectl.plan_text import plan_blocks
from relora_kubectl.tables import plain

PARTS = ("start of the program", "reading the fleet", "plan and text")


def main(count: int) -> None:
    """Print the time of each part and the sum, as elapsed and as processor time."""
    shelf = big_shelf(count)
    size = sum(map(len, shelf.texts.values()))
    begun = _clocks()
    subprocess.run([sys.executable, "-c", "import relora_kubectl.main"], check=True)
    started = _clocks()
    read, planned, lines = asyncio.run(_plan(shelf))
    moments = (begun, started, read, planned)
    pairs = [*zip(PARTS, moments, moments[1:], strict=False), ("together", begun, planned)]
    for name, before, after in pairs:
        print(f"{name:<22}{after[0] - before[0]:8.2f} s elapsed {after[1] - before[1]:8.2f} s of processor time")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} bindings, {size / 2**20:.0f} MiB of JSON, {shelf.lists} pages, {peak:.0f} MiB of memory at most")
    print("\n".join(lines[:6]))


async def _plan(shelf: Shelf) -> tuple[tuple[float, float], tuple[float, float], list[str]]:
    fleet = await look_around(Cluster(shelf, context="bench", namespace="n0000"))
    read = _clocks()
    view = plan_view(make_release("r3", "r2", rollout={"maxRunningJobs": 100}), fleet, datetime.now(UTC))
    return read, _clocks(), plain(plan_blocks(view, 20))


def _clocks() -> tuple[float, float]:
    """Return elapsed seconds, and those in which this process and the ones that it started were on a processor."""
    own, started = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), own.ru_utime + own.ru_stime + started.ru_utime + started.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]))

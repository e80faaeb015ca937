"""The operator's processes, and what they use."""

import asyncio
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.fleet.cluster import Cluster
from controller.replica import Replica
from devcluster.paths import read_tail

LEASE_SECONDS = 15
_OPTIONS = (
    *("--lease-duration-seconds", str(LEASE_SECONDS), "--log-level", "INFO"),
    *("--workers", "16", "--writes-per-second", "2000", "--write-burst", "2000"),
)
"""The chart's times of the Lease; the limit of writes, which protects other users, is out of the way."""
_REQUESTS = re.compile(
    r'relora_client_request_seconds_count\{code="(?P<code>\w+)",resource="(?P<resource>\w+)",verb="(?P<verb>\w+)"\} '
)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a process has used since its start, or between two moments."""

    cpu_seconds: float
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By verb and resource; those of the Lease left out."""

    @property
    def writes(self) -> int:
        """How many of the requests would change something."""
        return sum(count for (verb, _), count in self.requests.items() if verb != "GET")

    @property
    def total(self) -> int:
        """How many requests were sent, the watches left out."""
        return sum(self.requests.values())

    def __sub__(self, other: "Usage") -> "Usage":
        requests = Counter(self.requests)
        requests.subtract(other.requests)
        return Usage(cpu_seconds=self.cpu_seconds - other.cpu_seconds, requests=+requests)


def usage(replica: Replica) -> Usage:
    """Return what a process has used so far."""
    requests: Counter[tuple[str, str]] = Counter()
    for line in replica.fetch("/metrics")[1].splitlines():
        found = _REQUESTS.match(line)
        if found and found["resource"] != "leases":
            requests[found["verb"], found["resource"]] += int(float(line.rpartition(" ")[2]))
    return Usage(cpu_seconds=replica.cpu_seconds(), requests=requests)


class Operators:
    """Starts operators with the chart's rights; all that run end with the context."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._running: list[Replica] = []

    def start(self, *arguments: str, samples: Path | None = None) -> Replica:
        """Start one; with `samples` it writes there, at its end, what its processor time went to."""
        name = f"operator-{len(self._running)}"
        log = self._folder / f"{name}.log"
        command = [sys.executable, "-m", "bench.fleet.sampled", str(samples)] if samples is not None else None
        replica = Replica(self._kubeconfig, log, *_OPTIONS, *arguments, name=name, command=command)
        self._running.append(replica)
        return replica

    async def start_leader(self, *arguments: str, samples: Path | None = None) -> Replica:
        """Start one and wait until it leads."""
        replica = self.start(*arguments, samples=samples)
        await asyncio.to_thread(replica.await_lead)
        return replica

    def last_words(self) -> str:
        """Return the ends of the logs."""
        return "\n".join(f"--- {one.name}\n{read_tail(one.log)}" for one in self._running)

    def stop_all(self) -> None:
        """End all that run."""
        for replica in self._running:
            replica.stop(signal.SIGTERM)


@contextmanager
def operators(cluster: Cluster) -> Iterator[Operators]:
    """Yield a starter of operators, and end them."""
    started = Operators(cluster.operator_kubeconfig, cluster.folder)
    try:
        yield started
    except BaseException:
        print(started.last_words())
        raise
    finally:
        started.stop_all()


def reconciles(replica: Replica) -> float:
    """Return how often a process has reconciled anything."""
    return replica.metric("relora_reconciles_total")

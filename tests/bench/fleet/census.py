"""Watches the Jobs of a release: when each was made, whether any was made twice, and who is left without."""

import time
from collections import Counter
from dataclasses import dataclass, field

from bench.fleet.objects import MODEL
from bench.fleet.wire import METADATA, Wire
from controller.api import Document, condition

READAPTATION = "readaptation"


@dataclass
class JobCensus:
    """Every Job of ours that ever existed while it was followed.

    Attributes:
        made: By kind of Job, release, namespace and binding, the uids of its Jobs.
        first: When the first Job of a release was seen, by kind and release, in seconds of the monotonic clock.
    """

    made: dict[tuple[str, str, str, str], set[str]] = field(default_factory=dict)
    first: dict[tuple[str, str], float] = field(default_factory=dict)

    async def follow(self, wire: Wire) -> None:
        """Follow until cancelled."""
        async for kind, job in wire.follow("Job", "&labelSelector=relora.dev/job-kind", accept=METADATA):
            if kind == "ADDED":
                self.note(job)

    def note(self, job: Document) -> None:
        """Take one Job in."""
        metadata = job["metadata"]
        labels = metadata["labels"]
        kind, release = labels["relora.dev/job-kind"], labels["relora.dev/release"]
        owner = (kind, release, metadata["namespace"], labels.get("relora.dev/binding", ""))
        self.made.setdefault(owner, set()).add(metadata["uid"])
        self.first.setdefault((kind, release), time.monotonic())

    def jobs(self, release: str, kind: str = READAPTATION) -> int:
        """Return how many Jobs of a kind a release has had."""
        return sum(len(uids) for owner, uids in self.made.items() if owner[:2] == (kind, release))

    def duplicates(self, release: str) -> int:
        """Return how many Jobs a release has had beyond the first of each binding and kind."""
        return sum(len(uids) - 1 for owner, uids in self.made.items() if owner[1] == release)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Where the bindings of the fleet are at the end."""

    bindings: int
    promoted: int

    @property
    def lost(self) -> int:
        """Bindings that did not reach the release."""
        return self.bindings - self.promoted


async def verdict(wire: Wire, release: str) -> Verdict:
    """Look at every binding of the fleet."""
    states: Counter[str] = Counter()
    async for page in wire.pages("AdapterBinding"):
        for binding in page["items"]:
            if binding["spec"]["model"] != MODEL:
                continue
            states["all"] += 1
            states["promoted"] += on_release(binding, release)
    return Verdict(bindings=states["all"], promoted=states["promoted"])


def on_release(binding: Document, release: str) -> bool:
    """Tell whether a binding is served on a release and says so."""
    current = binding.get("status", {}).get("current", {})
    told = all(condition(binding, kind).get("status") == "True" for kind in ("Ready", "UpToDate"))
    return told and current.get("releaseName") == release

"""What a step needs of the world, passed in: a store, a clock, a place to show progress, a way to be stopped."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from relora_contract.artifacts import ArtifactKind, ArtifactRef, Fingerprint, Provenance
from relora_contract.report import Seconds, SplitUse, StepReport
from relora_store.checkpoints import CheckpointArea
from relora_store.names import Content
from relora_store.readings import Reading
from relora_trainer.errors import StoppedError


class ArtifactStore(Protocol):
    """Where artifacts and reports are read from and written to."""

    def read_report(self, request_digest: str, step: str) -> StepReport | None:
        """Return the stored report of a step, if there is one."""

    def write_report(self, report: StepReport) -> StepReport:
        """Store a report, once. Return the one that is stored: an earlier one wins."""

    def find_page(self, request_digest: str, step: str) -> str | None:
        """Return the URI of the page of a re-adaptation that ended with `step`, if it is stored."""

    def write_page(self, request_digest: str, step: str, page: str, picture: bytes) -> str:
        """Store a page and its picture, once, and return the page's URI; earlier ones win."""

    def publish(
        self, folder: Path, kind: ArtifactKind, provenance: Provenance, fingerprints: Sequence[Fingerprint] = ()
    ) -> ArtifactRef:
        """Store every file of `folder`, then a manifest that lists them."""

    def fetch(self, ref: ArtifactRef, directory: Path, content: Content) -> Path:
        """Bring a verified artifact to `directory`. Return the folder, or the file of a single-file artifact."""

    def find_baseline(self, key: str) -> ArtifactRef | None:
        """Return the outcomes of an adapter on its own base that an earlier request measured, or None."""

    def note_baseline(self, key: str, outcomes: ArtifactRef) -> None:
        """Note where the outcomes of an adapter on its own base lie."""

    def note_reading(self, reading: Reading) -> SplitUse:
        """Record that gates are asked on a file of test examples, and return the file's other readings."""

    def checkpoints(self, request_digest: str, step: str) -> CheckpointArea:
        """Return the part of the store that is for the checkpoints of a step."""


class Checkpoints(Protocol):
    """The files from which a step continues after an interruption: a folder that is stored from time to time.

    Where a step has something to lose, it asks `is_due`, and then writes its state to the folder and calls `save`.
    """

    def restore(self, conditions: Mapping[str, str], machine: Mapping[str, str]) -> Path:
        """Return the folder, with what an earlier attempt stored under the same conditions, or empty."""

    def is_due(self) -> bool:
        """Tell whether the state should be written and saved now."""

    def save(self) -> None:
        """Store what lies in the folder.

        Raises:
            StoppedError: SIGTERM has arrived.
        """


class Progress(Protocol):
    """Shows how far a long part of a step has come."""

    def update(self, part: str, done: int, total: int, detail: str = "") -> None:
        """Tell that `done` of `total` are done."""


class Clock(Protocol):
    """Wall-clock time for records, monotonic time for durations."""

    def now(self) -> datetime:
        """Return the time in UTC."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment."""
        return time.monotonic()


class StopSignal:
    """Set by the handler of SIGTERM."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask to stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Tell whether a stop was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise when a stop was asked for.

        Raises:
            StoppedError: SIGTERM has arrived.
        """
        if self._event.is_set():
            raise StoppedError("stopped by SIGTERM; the next attempt continues from here")


class Stopwatch:
    """Seconds by part of a step: load, project, search, train, evaluate, publish."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = dict.fromkeys(Seconds.model_fields, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block towards `name`."""
        start = self._clock.monotonic()
        try:
            yield
        finally:
            self._seconds[name] += self._clock.monotonic() - start

    def seconds(self) -> Seconds:
        """Return the times so far, in seconds to the millisecond."""
        return Seconds(**{name: f"{value:.3f}" for name, value in self._seconds.items()})

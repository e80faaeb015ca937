"""The trainer's ports, wrapped: every call is a point at which the process can be interrupted."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock

from relora_contract.request import CredentialMount
from relora_store.errors import TemporaryError
from relora_store.filesystems import Filesystems
from relora_store.objects import Objects


class Act(StrEnum):
    """What happens at a point."""

    KILL = "kill"
    TERM = "term"
    FAIL = "fail"
    """The store's call fails, as when it does not answer. Only calls of the store are counted then."""


@dataclass(frozen=True)
class Fault:
    """An interruption.

    Attributes:
        act: What happens.
        number: At which point, counted from 1.
        at: Only points whose name contains this are counted.
    """

    act: Act
    number: int
    at: str = ""


class Points:
    """Writes every point that is reached to a file, and acts at one of them."""

    def __init__(self, log: Path, fault: Fault | None) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._fault = fault
        self._count = 0
        self._lock = Lock()

    def reach(self, name: str, *, store: bool = False) -> None:
        """Come to a point.

        Raises:
            TemporaryError: The store fails here.
        """
        with self._lock:
            os.write(self._log, f"{name}\n".encode())
            fault = self._fault
            if fault is None or fault.at not in name or (fault.act is Act.FAIL and not store):
                return
            self._count += 1
            if self._count != fault.number:
                return
        match fault.act:
            case Act.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Act.TERM:
                os.kill(os.getpid(), signal.SIGTERM)
            case Act.FAIL:
                raise TemporaryError("the store does not answer")


class CountedObjects:
    """A place of the store whose calls are points."""

    def __init__(self, inner: Objects, place: str, points: Points) -> None:
        self._inner = inner
        self._place = place
        self._points = points

    def _reach(self, call: str, key: str = "") -> None:
        self._points.reach(f"store: {call} {self._place}/{key}", store=True)

    def size(self, key: str) -> int:
        self._reach("size", key)
        return self._inner.size(key)

    def sizes(self) -> dict[str, int]:
        self._reach("sizes")
        return self._inner.sizes()

    def read(self, key: str, limit: int) -> bytes:
        self._reach("read", key)
        return self._inner.read(key, limit)

    def stream(self, key: str, size: int) -> Iterator[bytes]:
        self._reach("stream", key)
        return self._inner.stream(key, size)

    def create(self, key: str, data: bytes) -> None:
        self._reach("create", key)
        self._inner.create(key, data)

    def create_from_file(self, key: str, path: Path, digest: str) -> None:
        self._reach("create_from_file", key)
        self._inner.create_from_file(key, path, digest)

    def remove(self, key: str) -> None:
        self._reach("remove", key)
        self._inner.remove(key)


class CountedFilesystems(Filesystems):
    """Opens places whose calls are points."""

    def __init__(self, credentials: Sequence[CredentialMount], environ: Mapping[str, str], points: Points) -> None:
        super().__init__(credentials, environ=environ)
        self._points = points

    def open(self, uri: str) -> Objects:
        return CountedObjects(super().open(uri), uri.rpartition("/store")[2], self._points)


class CountedProgress:
    """Progress whose every update is a point."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def update(self, part: str, done: int, total: int, detail: str = "") -> None:
        self._points.reach(f"progress: {part} {done}/{total}")


class TickingClock:
    """Time that passes by one second whenever somebody looks: the same in every run."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        self._seconds += 1.0
        return self._seconds

"""Keeps the programs of one cluster: starts them, notices the end of any, stops them all."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.paths import read_tail

_POLL_SECONDS = 0.05
_IDLE_SECONDS = 0.25


class State(StrEnum):
    """What a supervisor says about its cluster."""

    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """What a supervisor writes for others to read.

    Attributes:
        state: How far the cluster is.
        error: Why it stopped, empty when it was asked to.
        marks: Seconds from the start until each stage was reached.
        processes: Process ids of the programs, as the supervisor counts.
    """

    state: State
    error: str = ""
    marks: dict[str, float] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)


class Stopped(Exception):  # noqa: N818 - it is a request, not an error
    """The supervisor was asked to stop while it waited for something."""


class Supervisor:
    """The programs of one cluster, and the file that tells how they do.

    Args:
        status_file: Where to write the status.
        logs: Folder of the programs' logs.
        wrapper: Put before every command line; ``setpriv`` there ties a program's life to the supervisor's.
    """

    def __init__(self, status_file: Path, logs: Path, wrapper: Sequence[str] = ()) -> None:
        self._status_file = status_file
        self._logs = logs
        self._wrapper = list(wrapper)
        self._started = time.monotonic()
        self._marks: dict[str, float] = {}
        self._running: dict[int, str] = {}
        self._stopping = False
        self._error = ""
        self._write(State.STARTING)
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start a program whose end, whenever it comes, is the cluster's.

        Args:
            name: Its name in the status, and of its log.
            command: Its command line.
            environment: Variables to add to this process' own.
            descriptors: Open files that it inherits.
        """
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._wrapper, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **(environment or {})},
                pass_fds=descriptors,
            )
        process.returncode = 0  # the supervisor reaps all children itself; Popen must neither wait nor warn
        self._running[process.pid] = name

    def mark(self, stage: str) -> None:
        """Note that a stage was reached now."""
        self._marks[stage] = round(time.monotonic() - self._started, 2)

    def wait_for(self, stage: str, reached: Callable[[], bool], seconds: float) -> None:
        """Wait until ``reached`` says so.

        Raises:
            Stopped: The supervisor was asked to stop.
            DevclusterError: A program ended, or the time is over; the message has the end of the log that matters.
        """
        deadline = time.monotonic() + seconds
        while not reached():
            self._check()
            if time.monotonic() > deadline:
                raise DevclusterError(f"{stage} was not reached within {seconds:.0f} s; logs are in {self._logs}")
            time.sleep(_POLL_SECONDS)
        self.mark(stage)

    def serve(self) -> None:
        """Say that the cluster is ready and keep it until it is asked to stop.

        Raises:
            Stopped: The supervisor was asked to stop.
            DevclusterError: A program ended.
        """
        self._write(State.READY)
        while True:
            self._check()
            time.sleep(_IDLE_SECONDS)

    def stop(self, order: Sequence[str], error: str, seconds: float) -> None:
        """Ask all programs to end, in ``order`` and the rest after, and kill those that have not after ``seconds``."""
        self._stopping = True
        ranked = sorted(self._running, key=lambda pid: _rank(order, self._running[pid]))
        for pid in ranked:
            _signal(pid, signal.SIGTERM)
        self._await_end(seconds)
        for pid in self._running:
            _signal(pid, signal.SIGKILL)
        self._await_end(seconds)
        self._write(State.STOPPED, error)

    def _await_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._running and time.monotonic() < deadline:
            self._reap()
            time.sleep(_POLL_SECONDS)

    def _check(self) -> None:
        self._reap()
        if self._error:
            raise DevclusterError(self._error)
        if self._stopping:
            raise Stopped

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            name = self._running.pop(pid, None)  # none: an orphan of the cluster, or a command that is waited for
            if name and not self._stopping and not self._error:
                tail = read_tail(self._logs / f"{name}.log")
                self._error = f"{name} ended with {os.waitstatus_to_exitcode(status)}:\n{tail}"

    def _write(self, state: State, error: str = "") -> None:
        processes = {name: pid for pid, name in self._running.items()}
        write_status(self._status_file, Status(state, error, self._marks, processes))

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True


def write_status(path: Path, status: Status) -> None:
    """Write a status whole, so that a reader never sees half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(status), indent=1))
    draft.replace(path)


def read_status(path: Path) -> Status | None:
    """Read a status, or nothing where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Status(**{**content, "state": State(content["state"])})


def await_ready(path: Path, supervisor: subprocess.Popen[bytes], log: Path, seconds: float) -> Status:
    """Wait until the supervisor that was started says that its cluster is ready.

    Raises:
        DevclusterError: It stopped, or the time is over.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = supervisor.poll() is not None
        status = read_status(path)
        if status and status.state is State.READY:
            return status
        if status and status.state is State.STOPPED:
            raise DevclusterError(f"the cluster did not start: {status.error}")
        if ended:
            raise DevclusterError(f"the cluster's supervisor ended:\n{read_tail(log)}")
        time.sleep(_POLL_SECONDS)
    raise DevclusterError(f"the cluster was not ready within {seconds:.0f} s; see {log.parent}")


def alive(pid: int, mark: str) -> bool:
    """Say whether the process ``pid`` runs and its command line has ``mark``: a number alone may be someone else's."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and mark.encode() in command


def _rank(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

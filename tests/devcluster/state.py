"""The folder of one cluster, and the life of its supervisor as seen from outside."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.supervision import State, Status, alive, await_ready, read_status

_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class StateFolder:
    """The files that every cluster has, in a folder of its own.

    Attributes:
        root: The folder, absolute.
    """

    root: Path

    @property
    def pki(self) -> Path:
        """Certificates and the components' kubeconfigs."""
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        """One log per program."""
        return self.root / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig for clients on this machine."""
        return self.root / "kubeconfig"

    @property
    def status_file(self) -> Path:
        """The supervisor's status."""
        return self.root / "status.json"

    @property
    def pid_file(self) -> Path:
        """The process id of the supervisor, or of the process that its life hangs on."""
        return self.root / "supervisor.pid"

    def pid(self) -> int | None:
        """Return the process id that the cluster hangs on while that process runs."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if alive(pid, str(self.root)) else None

    def status(self) -> Status | None:
        """Return the status of a cluster that runs, or nothing."""
        return read_status(self.status_file) if self.pid() else None


def launch(folder: StateFolder, command: Sequence[str], environment: dict[str, str], seconds: float) -> Status:
    """Start a supervisor in the background and wait until its cluster is ready.

    Raises:
        DevclusterError: The cluster is up already, or did not come up; its logs stay.
    """
    if folder.pid():
        raise DevclusterError(f"a cluster is up in {folder.root}; `down` stops it")
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.status_file.unlink(missing_ok=True)
    log = folder.logs / "supervisor.log"
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    folder.pid_file.write_text(str(supervisor.pid))
    try:
        status = await_ready(folder.status_file, supervisor, log, seconds)
    except BaseException:
        supervisor.terminate()
        _wait(supervisor)
        raise
    supervisor.returncode = 0  # it lives on: Popen must neither wait for it nor warn
    return status


def stop(pid: int, folder: StateFolder, signalled: int | None = None) -> None:
    """End a supervisor and wait until it is gone: its file may go before it does, as it may remove the folder itself.

    Args:
        pid: The process that the cluster hangs on.
        folder: The cluster's folder.
        signalled: The process that takes the request to stop, where it is another one.
    """
    _signal(signalled or pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while alive(pid, str(folder.root)):
        _reap(pid)
        if time.monotonic() > deadline:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.05)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it."""
    if path.exists():
        shutil.rmtree(path)


def describe(status: Status | None) -> str:
    """Say in one line how a cluster does."""
    if status is None or status.state is State.STOPPED:
        return "down"
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in status.marks.items())
    return f"{status.state}: {stages}"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reap(pid: int) -> None:
    """Take the exit status of a child; another process' child is not ours to take."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return

"""A control plane without nodes: etcd, API server, controller manager and scheduler. No root, no containers."""

import secrets
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import components, pki
from devcluster.binaries import find_programs
from devcluster.components import ControlPlaneLayout
from devcluster.errors import DevclusterError
from devcluster.kubeapi import ApiReader
from devcluster.kubectl import run_kubectl
from devcluster.programs import Target
from devcluster.progress import Report
from devcluster.state import StateFolder, launch, remove, stop
from devcluster.supervision import Status, Stopped, Supervisor

_START_SECONDS = 120.0
_STOP_ORDER = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
# Below the range that the kernel gives to outgoing connections, so that none of them takes a port that was found free.
_PORTS = range(20000, 30000)


class ControlPlane:
    """A control plane, as a context manager.

    Example:
        >>> with ControlPlane() as plane:
        ...     plane.kubectl("get", "namespaces")

    Args:
        state: The folder that it lives in; by default a temporary one.
        report: Takes lines of progress, while programs are built.
        outlive: Keep it running when this process ends, for the command line; else it ends with the thread that starts
            it, so also when this process is killed.
    """

    def __init__(self, state: Path | None = None, report: Report = print, *, outlive: bool = False) -> None:
        self._report = report
        self._outlive = outlive
        self._state = state
        self._folder: StateFolder | None = None
        self._programs: dict[str, Path] = {}

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self._started().kubeconfig

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - the name that subprocess uses
        """Run kubectl as the cluster's admin and return what it prints.

        Raises:
            KubectlError: kubectl failed; the error has its message.
        """
        return run_kubectl(self._programs["kubectl"], self.kubeconfig, arguments, input)

    def start(self) -> Status:
        """Start it and wait until it is ready.

        Raises:
            DevclusterError: It did not come up; the message says why.
        """
        self._programs = find_programs(Target.CONTROL_PLANE, self._report)
        root = self._state or Path(tempfile.mkdtemp(prefix="relora-controlplane-"))
        folder = StateFolder(root.absolute())
        tie = [] if self._outlive else ["setpriv", "--pdeathsig", "TERM"]
        lifetime = "keep" if self._outlive else "remove"
        pairs = [f"{name}={path}" for name, path in self._programs.items()]
        command = [*tie, sys.executable, "-m", "devcluster.controlplane", str(folder.root), lifetime, *pairs]
        self._folder = folder
        return launch(folder, command, {"PYTHONPATH": str(Path(__file__).parents[1])}, _START_SECONDS)

    def stop(self) -> None:
        """Stop it and remove its folder."""
        folder = self._started()
        stop_control_plane(folder)
        self._folder = None

    def _started(self) -> StateFolder:
        if self._folder is None:
            raise DevclusterError("the control plane has not been started")
        return self._folder

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def stop_control_plane(folder: StateFolder) -> None:
    """Stop the control plane of a folder, if one runs there, and remove the folder."""
    pid = folder.pid()
    if pid is not None:
        stop(pid, folder)
    remove(folder.root)


def free_port(taken: set[int]) -> int:
    """Return a port of the loopback device that nobody listens on, and add it to ``taken``."""
    while True:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port


def supervise(folder: StateFolder, programs: dict[str, Path]) -> str:
    """Run a control plane until it is asked to stop. Returns why it stopped, empty when it was asked to."""
    # A program must not outlive its supervisor, not even one that is killed.
    supervisor = Supervisor(folder.status_file, folder.logs, wrapper=("setpriv", "--pdeathsig", "KILL"))
    error = ""
    try:
        pki.issue(folder.pki, pki.control_plane_certificates())
        taken: set[int] = set()
        layout = ControlPlaneLayout(
            programs=programs,
            pki=folder.pki,
            etcd_data=folder.root / "etcd",
            bind_address="127.0.0.1",
            advertise_address="127.0.0.1",
            api_port=free_port(taken),
            etcd_port=free_port(taken),
            etcd_peer_port=free_port(taken),
        )
        start_control_plane(supervisor, layout)
        server = f"https://127.0.0.1:{layout.api_port}"
        pki.write_private(folder.kubeconfig, pki.kubeconfig(folder.pki, "admin", server))
        await_default_service_account(supervisor, layout)
        supervisor.serve()
    except Stopped:
        pass
    except DevclusterError as failure:
        error = str(failure)
    supervisor.stop(_STOP_ORDER, error, seconds=1)  # nothing is kept: no need to wait for a flush
    return error


def start_control_plane(supervisor: Supervisor, layout: ControlPlaneLayout) -> None:
    """Start the four programs; returns when the API server is ready and the others have been started."""
    server = f"https://127.0.0.1:{layout.api_port}"
    for user in ("kube-controller-manager", "kube-scheduler"):
        pki.write_private(layout.pki / f"{user}.kubeconfig", pki.kubeconfig(layout.pki, user, server))
    supervisor.start("etcd", components.etcd(layout))
    supervisor.start("kube-apiserver", components.api_server(layout))
    supervisor.wait_for("API server", ApiReader(layout.pki, "127.0.0.1", layout.api_port).ready, seconds=90)
    supervisor.start("kube-controller-manager", components.controller_manager(layout))
    supervisor.start("kube-scheduler", components.scheduler(layout))


def await_default_service_account(supervisor: Supervisor, layout: ControlPlaneLayout) -> None:
    """Wait for the default namespace's service account: no pod is admitted without one."""
    reader = ApiReader(layout.pki, "127.0.0.1", layout.api_port)
    path = "/api/v1/namespaces/default/serviceaccounts/default"
    supervisor.wait_for("service accounts", lambda: reader.exists(path), seconds=60)


def main(arguments: list[str]) -> int:
    """Supervise the control plane that :class:`ControlPlane` asked for."""
    folder = StateFolder(Path(arguments[0]))
    programs = {name: Path(path) for name, _, path in (pair.partition("=") for pair in arguments[2:])}
    error = supervise(folder, programs)
    if arguments[1] == "remove" and not error:
        remove(folder.root)
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A whole one-node cluster, as seen from outside: brings it up, says where it answers, takes it down."""

import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import cgroups
from devcluster.binaries import find_programs
from devcluster.check import check_node
from devcluster.controlplane import free_port
from devcluster.endpoints import Endpoints, read_endpoints, write_endpoints
from devcluster.errors import DevclusterError
from devcluster.kubectl import run_kubectl
from devcluster.namespaces import UNSHARE
from devcluster.nodelayout import NODE_PORTS, cgroup_name, images_folder
from devcluster.programs import CLUSTER_TARGETS
from devcluster.progress import Report
from devcluster.state import StateFolder, launch, remove, stop
from devcluster.supervision import Status

_START_SECONDS = 180.0


class Node:
    """A one-node cluster, as a context manager. Needs root.

    Example:
        >>> with Node() as node:
        ...     node.kubectl("get", "nodes")

    Args:
        state: The folder that it lives in; by default a temporary one. Images in it outlive the node.
        report: Takes lines of progress, while programs are built.
        outlive: Keep it running when this process ends, for the command line; else it ends with the thread that starts
            it, so also when this process is killed.
    """

    def __init__(self, state: Path | None = None, report: Report = print, *, outlive: bool = False) -> None:
        self._temporary = state is None
        self._folder = StateFolder((state or Path(tempfile.mkdtemp(prefix="relora-node-"))).absolute())
        self._report = report
        self._outlive = outlive
        self._found: dict[str, Path] = {}

    @property
    def state(self) -> Path:
        """The folder that it lives in."""
        return self._folder.root

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig, for clients on this machine."""
        return self._folder.kubeconfig

    @property
    def s3_credentials(self) -> Path:
        """The S3 gateway's keys, as AWS clients read them."""
        return self.state / "s3.credentials"

    @property
    def volumes(self) -> Path:
        """A folder for hostPath volumes, removed with the node."""
        return self.state / "volumes"

    @property
    def programs(self) -> dict[str, Path]:
        """Path of each program: the control plane's, the node's, kubectl and helm."""
        if not self._found:
            for target in CLUSTER_TARGETS:
                self._found.update(find_programs(target, self._report))
        return self._found

    def endpoints(self) -> Endpoints:
        """Return where its services answer."""
        return read_endpoints(self.state)

    def running(self) -> bool:
        """Say whether it runs."""
        return self._folder.pid() is not None

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - the name that subprocess uses
        """Run kubectl as the cluster's admin and return what it prints.

        Raises:
            KubectlError: kubectl failed; the error has its message.
        """
        return run_kubectl(self.programs["kubectl"], self.kubeconfig, arguments, input)

    def start(self) -> Status:
        """Start it and wait until it is ready.

        Raises:
            DevclusterError: This machine cannot run it, or it did not come up; the message says why.
        """
        check_node()
        if self.running():
            raise DevclusterError(f"a cluster is up in {self.state}; `down --node` stops it")
        programs = {name: str(path) for name, path in self.programs.items()}
        self._sweep()
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "programs.json").write_text(json.dumps(programs))
        write_endpoints(self.state, _new_endpoints())
        # A node that is tied to this process is killed with it: the kernel then ends every process of the node.
        tie = [] if self._outlive else ["setpriv", "--pdeathsig", "KILL"]
        command = [*tie, *UNSHARE, sys.executable, "-m", "devcluster.nodeinit", str(self.state)]
        return launch(self._folder, command, {"PYTHONPATH": str(Path(__file__).parents[1])}, _START_SECONDS)

    def stop(self, *, images: bool = False) -> None:
        """Stop it and remove all that it left, but the images of a folder that was named.

        Args:
            images: Remove its images too; the next node then starts with an empty registry.
        """
        pid = self._folder.pid()
        if pid is not None:
            stop(pid, self._folder, signalled=_first_process(pid))
        self._sweep()
        if images or self._temporary:
            remove(self.state)

    def _sweep(self) -> None:
        """Remove what a node leaves when it ends, killed or not."""
        cgroups.remove(cgroup_name(self._folder))
        if not self.state.exists():
            return
        for path in self.state.iterdir():
            if path == images_folder(self._folder):
                continue
            if path.is_dir():
                remove(path)
            else:
                path.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def enter(folder: StateFolder, command: Sequence[str]) -> list[str]:
    """Return the command line that runs ``command`` inside a node's namespaces.

    Raises:
        DevclusterError: No node runs in ``folder``.
    """
    pid = folder.pid()
    if pid is None:
        raise DevclusterError(f"no node runs in {folder.root}; `up --node` starts one")
    return ["nsenter", "--target", str(_first_process(pid)), "--mount", "--net", "--pid", "--", *command]


def _first_process(unshare: int) -> int:
    """Return the host's number of the node's process 1, the one child of ``unshare``."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    return int(children[0]) if children else unshare


def _new_endpoints() -> Endpoints:
    taken: set[int] = set()
    return Endpoints(
        api_port=free_port(taken),
        registry_port=free_port(taken),
        s3_port=free_port(taken),
        node_ports={node_port: free_port(taken) for node_port in NODE_PORTS},
        s3_access_key=f"relora{secrets.token_hex(5)}",
        s3_secret_key=secrets.token_urlsafe(24),
    )

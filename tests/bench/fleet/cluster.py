"""A control plane with our kinds, the operator's account, and a node that KWOK plays."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.fleet.objects import node
from controller.replica import process_seconds
from controller.rights import install_rights
from devcluster.binaries import find_programs
from devcluster.controlplane import ControlPlane
from devcluster.crds import install_crds
from devcluster.programs import Target
from devcluster.progress import Report

_CRDS = Path(__file__).parents[3] / "crds"
_STAGES = Path(__file__).with_name("kwok.yaml")
_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")


class Cluster:
    """Everything but the operator, as a context manager.

    Args:
        report: Takes lines of progress.
        kwok: Let KWOK play the node; else someone else has to.
    """

    def __init__(self, report: Report, *, kwok: bool = True) -> None:
        self._report = report
        self._with_kwok = kwok
        self._scratch = tempfile.TemporaryDirectory(prefix="relora-bench-")
        self._plane = ControlPlane(report=report)
        self._processes: Mapping[str, int] = {}
        self._kwok: subprocess.Popen[bytes] | None = None
        self.folder = Path(self._scratch.name)
        self.operator_kubeconfig = self.folder

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._plane.kubeconfig

    def __enter__(self) -> Self:
        self._processes = self._plane.start().processes
        try:
            self._install()
            if self._with_kwok:
                self._add_node(find_programs(Target.KWOK, self._report)["kwok"])
        except BaseException:
            self._stop()
            raise
        return self

    def _install(self) -> None:
        install_crds(self._plane, _CRDS)
        self.operator_kubeconfig = install_rights(self._plane, self.folder)

    def _add_node(self, kwok: Path) -> None:
        self._plane.kubectl("create", "-f", "-", input=json.dumps(node()))
        options = [
            *("--kubeconfig", str(self.kubeconfig), "--config", str(_STAGES)),
            *("--manage-nodes-with-label-selector", "type=kwok", "--node-lease-duration-seconds", "40"),
            *("--node-ip", "10.99.0.9", "--server-address", ""),
        ]
        with (self.folder / "kwok.log").open("ab") as log:
            self._kwok = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", str(kwok), *options], stdout=log, stderr=subprocess.STDOUT
            )
        self._plane.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node", "kwok")

    @contextmanager
    def without_controllers(self) -> Iterator[None]:
        """Stand controller manager, scheduler and KWOK still: someone else does what they would."""
        pids = [self._processes[name] for name in _CONTROLLERS]
        if self._kwok is not None:
            pids.append(self._kwok.pid)
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time that each program has used."""
        running = dict(self._processes)
        if self._kwok is not None:
            running["kwok"] = self._kwok.pid
        return {name: process_seconds(pid) for name, pid in running.items()}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._kwok is not None:
            self._kwok.kill()
            self._kwok.wait()
        self._plane.stop()
        self._scratch.cleanup()

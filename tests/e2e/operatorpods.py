"""The operator's pods: who leads, and how scenarios take the operator away."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.chronicle import Chronicle
from e2e.clusterapi import ClusterApi, Json, Ref

NAMESPACE = "relora-system"
RELEASE = "relora"
LEASE = Ref("Lease", NAMESPACE, "relora-operator")
DEPLOYMENT = Ref("Deployment", NAMESPACE, "relora-operator")
_RETURN_SECONDS = 120.0


class OperatorPods:
    """Kills the leader, or takes all of the operator away for a while. One scenario at a time does so."""

    namespace = NAMESPACE

    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle
        self._turn = threading.Lock()

    def kill_leader(self, api: ClusterApi) -> None:
        """Send SIGKILL to the process that holds the Lease, and return when another one holds it."""
        with self._turn:
            pod = self._chronicle.wait("a leader", self._leader, seconds=_RETURN_SECONDS)
            before = _acquisition(api.get(LEASE))
            for process in _processes(pod["metadata"]["uid"]):
                os.kill(process, signal.SIGKILL)
            self._chronicle.wait(
                "a new leader",
                lambda: _acquisition(self._chronicle.current(LEASE)) != before or None,
                seconds=_RETURN_SECONDS,
            )

    @contextmanager
    def absent(self, api: ClusterApi, *, once: Callable[[], object]) -> Iterator[None]:
        """Take every pod of the operator away when `once` returns; they are back afterwards.

        It is called when it is this scenario's turn: what it waits for may be over soon.
        """
        with self._turn:
            once()
            replicas = (api.get(DEPLOYMENT) or {})["spec"]["replicas"]
            api.merge(DEPLOYMENT, {"spec": {"replicas": 0}})
            try:
                self._chronicle.wait("the operator to be gone", lambda: not self.pods() or None, seconds=60)
                yield
            finally:
                api.merge(DEPLOYMENT, {"spec": {"replicas": replicas}})

    def pods(self) -> list[Json]:
        """Return the operator's pods as they are now; the delta's pods of its namespace are others."""
        pods = self._chronicle.alive("Pod", NAMESPACE)
        return [pod for pod in pods if pod["metadata"]["labels"].get("app.kubernetes.io/instance") == RELEASE]

    def _leader(self) -> Json | None:
        holder = (self._chronicle.current(LEASE) or {}).get("spec", {}).get("holderIdentity") or ""
        return next((pod for pod in self.pods() if holder.startswith(pod["metadata"]["name"])), None)


def _acquisition(lease: Json | None) -> tuple[str, str]:
    spec = (lease or {}).get("spec", {})
    return spec.get("holderIdentity") or "", spec.get("acquireTime") or ""


def _processes(pod_uid: str) -> list[int]:
    """Return the processes of a pod's containers, as this machine numbers them, without the pod's pause process."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            inside = pod_uid in (folder / "cgroup").read_text()
            program = (folder / "cmdline").read_bytes().split(b"\0")[0]
        except OSError:
            continue
        if inside and not program.endswith(b"pause"):
            found.append(int(folder.name))
    return found

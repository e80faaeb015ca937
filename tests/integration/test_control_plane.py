import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster.controlplane import ControlPlane
from devcluster.kubectl import KubectlError
from devcluster.state import StateFolder
from devcluster.supervision import read_status

pytestmark = pytest.mark.integration

_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "one"},
    "spec": {
        "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.test/none:1"}]}
        }
    },
}


def test_api_server_is_kubernetes_1_36(control_plane: ControlPlane) -> None:
    version = json.loads(control_plane.kubectl("get", "--raw", "/version"))
    assert (version["major"], version["minor"]) == ("1", "36")


def test_controllers_make_a_jobs_pod_and_the_scheduler_looks_for_a_node(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(_JOB))
    control_plane.kubectl(
        *("wait", "-n", namespace, "pod", "-l", "job-name=one", "--timeout=30s"),
        *("--for", "jsonpath={.status.conditions[0].reason}=Unschedulable"),
    )


def test_errors_of_kubectl_carry_its_message(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(KubectlError, match='pods "absent" not found'):
        control_plane.kubectl("get", "-n", namespace, "pod", "absent")


def test_two_run_at_once_and_nothing_stays_after_a_stop(control_plane: ControlPlane, tmp_path: Path) -> None:
    second = ControlPlane(tmp_path / "second")
    processes = second.start().processes
    assert set(processes) == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
    assert second.kubectl("get", "namespaces", "-o", "name")
    assert control_plane.kubectl("get", "namespaces", "-o", "name")

    second.stop()

    assert not (tmp_path / "second").exists()
    assert _gone(processes)


def test_all_programs_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "killed")
    status = plane.start()
    pid = StateFolder(tmp_path / "killed").pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    assert _eventually(lambda: _gone(status.processes))
    plane.stop()
    assert not (tmp_path / "killed").exists()


def test_a_program_that_ends_ends_the_cluster_and_is_named(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "broken")
    status = plane.start()
    folder = StateFolder(tmp_path / "broken")

    os.kill(status.processes["kube-scheduler"], signal.SIGKILL)

    assert _eventually(lambda: folder.pid() is None)
    assert _gone(status.processes)
    broken = read_status(folder.status_file)
    assert broken is not None
    assert broken.error.startswith("kube-scheduler ended with -9")
    plane.stop()


def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from devcluster.controlplane import ControlPlane\n"
        "print(*ControlPlane(pathlib.Path(sys.argv[1])).start().processes.values(), flush=True); time.sleep(600)"
    )
    state = tmp_path / "orphan"
    command = [sys.executable, "-c", script, str(state)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pids = {str(index): int(pid) for index, pid in enumerate(parent.stdout.readline().split())}
        assert len(pids) == 4
        parent.kill()

    assert _eventually(lambda: _gone(pids) and not state.exists())


def _gone(processes: dict[str, int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in processes.values())


def _eventually(reached: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if reached():
            return True
        time.sleep(0.05)
    return False

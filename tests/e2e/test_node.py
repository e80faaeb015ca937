import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import s3fs

from devcluster.baseimages import debian_base
from devcluster.images import ImageStore
from devcluster.kubectl import KubectlError
from devcluster.node import Node
from devcluster.nodelayout import cgroup_name
from devcluster.state import StateFolder

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def python_image(node_cluster: Node, image_store: ImageStore) -> str:
    image = debian_base(image_store, print)
    return image_store.push(image, "debian", node_cluster.endpoints().registry)


def _pod(name: str, image: str, *command: str) -> dict[str, Any]:
    """A pod that the restricted standard admits."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": list(command),
                    "workingDir": "/usr/share",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def _service(name: str, node_port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"port": 80, "targetPort": 8000, "nodePort": node_port}],
        },
    }


def _run_python(node: Node, namespace: str, image: str, script: str) -> str:
    """Run a script in a pod of its own and return what it printed."""
    node.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(_pod("script", image, "python3", "-c", script)))
    node.kubectl("wait", "-n", namespace, "pod/script", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    return node.kubectl("logs", "-n", namespace, "script")


def test_pods_reach_services_by_name_and_so_does_the_host_by_node_port(
    node_cluster: Node, team: str, python_image: str
) -> None:
    objects = [_pod("web", python_image, "python3", "-m", "http.server", "8000"), _service("web", 30083)]
    for each in objects:
        node_cluster.kubectl("apply", "-n", team, "-f", "-", input=json.dumps(each))
    node_cluster.kubectl("wait", "-n", team, "pod/web", "--for=condition=Ready", "--timeout=60s")

    url = f"http://web.{team}.svc.cluster.local/"
    script = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).status)"
    assert _run_python(node_cluster, team, python_image, script).strip() == "200"
    assert httpx.get(node_cluster.endpoints().node_port_url(30083), timeout=5).status_code == 200


def test_names_outside_the_cluster_fail_at_once(node_cluster: Node, team: str, python_image: str) -> None:
    script = (
        "import socket, time; started = time.time()\n"
        "try: socket.getaddrinfo('example.org', 80)\n"
        "except OSError as error: print(type(error).__name__, time.time() - started < 3)"
    )
    assert _run_python(node_cluster, team, python_image, script).strip() == "gaierror True"


def test_privileged_pods_are_refused_where_the_restricted_standard_is_enforced(node_cluster: Node, team: str) -> None:
    pod = _pod("root", "localhost/any:1", "true")
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        node_cluster.kubectl("apply", "-n", team, "-f", "-", input=json.dumps(pod))


def test_pods_and_host_see_the_same_s3_gateway(node_cluster: Node, team: str, python_image: str) -> None:
    url = f"{node_cluster.endpoints().s3_in_cluster}/healthz"
    assert httpx.get(f"{node_cluster.endpoints().s3}/healthz").status_code == 200
    script = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).status)"
    assert _run_python(node_cluster, team, python_image, script).strip() == "200"


def test_s3_writes_once_when_asked_to(node_cluster: Node, team: str) -> None:
    endpoints = node_cluster.endpoints()
    store = s3fs.S3FileSystem(
        key=endpoints.s3_access_key,
        secret=endpoints.s3_secret_key,
        endpoint_url=endpoints.s3,
        skip_instance_cache=True,
    )
    store.mkdir(team)
    created = {"Bucket": team, "Key": "folder/file", "IfNoneMatch": "*"}
    store.call_s3("put_object", **created, Body=b"first")
    with pytest.raises(OSError, match=r"PreconditionFailed|pre-conditions"):
        store.call_s3("put_object", **created, Body=b"second")
    assert store.cat(f"{team}/folder/file") == b"first"
    store.rm(team, recursive=True)


def test_a_node_leaves_nothing_behind(image_store: ImageStore, tmp_path: Path, node_cluster: Node) -> None:
    del node_cluster  # it shows that two nodes run at once
    node = Node(tmp_path / "node")
    _start_with_a_pod(node, image_store)
    node.stop()
    assert _traces(node) == []
    assert [path.name for path in node.state.iterdir()] == ["images"]
    node.stop(images=True)
    assert not node.state.exists()


def test_a_node_dies_at_once_when_it_is_killed(image_store: ImageStore, tmp_path: Path, node_cluster: Node) -> None:
    del node_cluster
    node = Node(tmp_path / "node")
    _start_with_a_pod(node, image_store)
    pid = StateFolder(node.state).pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    assert _eventually(lambda: not _processes(node))
    node.stop()
    assert _traces(node) == []


def _start_with_a_pod(node: Node, store: ImageStore) -> None:
    node.start()
    image = store.push(debian_base(store, print), "debian", node.endpoints().registry)
    node.kubectl("apply", "-f", "-", input=json.dumps(_pod("sleeper", image, "sleep", "600")))
    node.kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
    assert _processes(node)
    assert any("relora-node" in trace for trace in _traces(node))


def _processes(node: Node) -> list[str]:
    marks = (str(node.state), cgroup_name(StateFolder(node.state)))
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            facts = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode() + (folder / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(mark in facts for mark in marks) and int(folder.name) != os.getpid():
            found.append(f"process {folder.name}: {facts[:120]}")
    return found


def _traces(node: Node) -> list[str]:
    """Processes, mounts, control groups, network devices and rules on this machine that belong to the node."""
    name = cgroup_name(StateFolder(node.state))
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(node.state) in line]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
    groups += [str(path) for path in Path("/sys/fs/cgroup").glob(name)]
    links = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(("node0", "veth"))]
    rules = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return [*_processes(node), *mounts, *groups, *links, *([rules] if "kube-proxy" in rules else [])]


def _eventually(reached: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if reached():
            return True
        time.sleep(0.05)
    return False

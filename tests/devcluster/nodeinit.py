"""The first process of a node: makes the private network and mounts, starts every program, reaps every orphan.

It is process 1 of a private process namespace: when it ends, for whatever reason, the kernel ends all that runs on the
node, and with the last process go the mounts and the network.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster import cgroups, nodeconfig, nodelayout, pki
from devcluster.components import ControlPlaneLayout
from devcluster.controlplane import await_default_service_account, start_control_plane
from devcluster.endpoints import Endpoints, read_endpoints
from devcluster.errors import DevclusterError
from devcluster.forward import listen
from devcluster.kubeapi import ApiReader
from devcluster.kubectl import KubectlError, run_kubectl
from devcluster.namespaces import enter_private_network, make_links, mount_private
from devcluster.nodelayout import API_PORT, NODE_IP, NODE_NAME, NodeLayout
from devcluster.ociarchive import write_program_image
from devcluster.state import StateFolder
from devcluster.supervision import Stopped, Supervisor

_STOP_ORDER = (
    *("kubelet", "kube-proxy", "coredns", "kube-controller-manager", "kube-scheduler", "kube-apiserver"),
    *("registry", "s3gateway", "containerd", "etcd", "forward"),
)
_STOP_SECONDS = 1.5


def run(layout: NodeLayout) -> str:
    """Run the node until it is asked to stop. Returns why it stopped, empty when it was asked to."""
    supervisor = Supervisor(layout.folder.status_file, layout.folder.logs)
    error = ""
    try:
        _start(supervisor, layout)
        supervisor.serve()
    except Stopped:
        pass
    except (DevclusterError, KubectlError, OSError, subprocess.SubprocessError) as failure:
        error = str(failure) or repr(failure)
    supervisor.stop(_STOP_ORDER, error, _STOP_SECONDS)
    return error


def _start(supervisor: Supervisor, layout: NodeLayout) -> None:
    endpoints = read_endpoints(layout.root)
    _write_files(layout, endpoints)
    routes = _open_listeners(endpoints)
    enter_private_network()
    mount_private(layout.root)
    make_links()
    cgroups.create(layout.cgroup)
    _forward(supervisor, routes)
    supervisor.mark("namespaces")

    supervisor.start("containerd", ["containerd", "--config", f"{layout.config}/containerd.toml"])
    registry = [str(layout.programs["registry"]), "serve", f"{layout.config}/registry.yaml"]
    supervisor.start("registry", registry, {"OTEL_TRACES_EXPORTER": "none"})
    gateway = [str(layout.programs["s3gateway"]), f"{NODE_IP}:{nodelayout.S3_PORT}", str(layout.s3)]
    keys = {"ROOT_ACCESS_KEY": endpoints.s3_access_key, "ROOT_SECRET_KEY": endpoints.s3_secret_key}
    supervisor.start("s3gateway", gateway, keys)
    control_plane = _control_plane_layout(layout)
    start_control_plane(supervisor, control_plane)

    _apply_addons(layout)  # CoreDNS waits for seconds once it is refused what it reads
    supervisor.start("coredns", [str(layout.programs["coredns"]), "-conf", f"{layout.config}/Corefile"])
    supervisor.start("kube-proxy", [str(layout.programs["kube-proxy"]), "--config", f"{layout.config}/kube-proxy.yaml"])
    supervisor.wait_for("containerd", nodelayout.CONTAINERD_SOCKET.exists, seconds=30)
    _import_pause_image(layout)
    supervisor.start("kubelet", _kubelet(layout))
    await_default_service_account(supervisor, control_plane)
    reader = ApiReader(layout.pki, NODE_IP, API_PORT)
    supervisor.wait_for("node", lambda: reader.condition(f"/api/v1/nodes/{NODE_NAME}", "Ready"), seconds=90)
    supervisor.wait_for("DNS", lambda: _healthy("127.0.0.1", nodelayout.DNS_READY_PORT, "/ready"), seconds=30)
    supervisor.wait_for("registry", lambda: _healthy("127.0.0.1", nodelayout.REGISTRY_PORT, "/v2/"), seconds=30)
    supervisor.wait_for("S3", lambda: _healthy(NODE_IP, nodelayout.S3_PORT, "/healthz"), seconds=30)


def _write_files(layout: NodeLayout, endpoints: Endpoints) -> None:
    for folder in ("etcd", "kubelet", "s3", "volumes", "images/containerd", "images/registry"):
        (layout.root / folder).mkdir(parents=True, exist_ok=True)
    certificates = (*pki.control_plane_certificates([NODE_IP]), *pki.node_certificates(NODE_NAME, NODE_IP))
    pki.issue(layout.pki, certificates)
    server = f"https://{NODE_IP}:{API_PORT}"
    for user in ("admin", *pki.node_users(NODE_NAME)):
        pki.write_private(layout.pki / f"{user}.kubeconfig", pki.kubeconfig(layout.pki, user, server))
    on_this_machine = f"https://127.0.0.1:{endpoints.api_port}"
    pki.write_private(layout.folder.kubeconfig, pki.kubeconfig(layout.pki, "admin", on_this_machine))
    for name, text in nodeconfig.config_files(layout, _containerd_major()).items():
        path = layout.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _containerd_major() -> int:
    printed = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\bv?(\d+)\.\d+\.\d+", printed)
    if found is None:
        raise DevclusterError(f"containerd does not say its version: {printed!r}")
    return int(found.group(1))


def _open_listeners(endpoints: Endpoints) -> list[tuple[socket.socket, str, int]]:
    return [
        (listen(endpoints.api_port), NODE_IP, API_PORT),
        (listen(endpoints.registry_port), "127.0.0.1", nodelayout.REGISTRY_PORT),
        (listen(endpoints.s3_port), NODE_IP, nodelayout.S3_PORT),
        *((listen(port), NODE_IP, node_port) for node_port, port in endpoints.node_ports.items()),
    ]


def _forward(supervisor: Supervisor, routes: Sequence[tuple[socket.socket, str, int]]) -> None:
    arguments = [f"{listener.fileno()}:{address}:{port}" for listener, address, port in routes]
    descriptors = [listener.fileno() for listener, _, _ in routes]
    supervisor.start("forward", [sys.executable, "-m", "devcluster.forward", *arguments], descriptors=descriptors)
    for listener, _, _ in routes:
        listener.close()


def _control_plane_layout(layout: NodeLayout) -> ControlPlaneLayout:
    return ControlPlaneLayout(
        programs=layout.programs,
        pki=layout.pki,
        etcd_data=layout.root / "etcd",
        bind_address="0.0.0.0",  # noqa: S104 - all addresses of the node's private network
        advertise_address=NODE_IP,
        api_port=API_PORT,
        etcd_port=2379,
        etcd_peer_port=2380,
        kubelet_address_types="InternalIP",
    )


def _kubelet(layout: NodeLayout) -> list[str]:
    return [
        str(layout.programs["kubelet"]),
        *("--kubeconfig", f"{layout.pki}/kubelet.kubeconfig", "--config", f"{layout.config}/kubelet.yaml"),
        *("--hostname-override", NODE_NAME, "--node-ip", NODE_IP, "--root-dir", str(layout.root / "kubelet")),
    ]


def _import_pause_image(layout: NodeLayout) -> None:
    archive = Path("/run/relora/pause.tar")
    write_program_image(layout.programs["pause"], layout.pause_image, archive)
    ctr = ["ctr", "--address", str(nodelayout.CONTAINERD_SOCKET), "--namespace", "k8s.io", "images", "import"]
    done = subprocess.run([*ctr, str(archive)], capture_output=True, text=True, timeout=60, check=False)
    archive.unlink()
    if done.returncode:
        raise DevclusterError(f"containerd does not take the pause image: {done.stderr.strip()}")


def _apply_addons(layout: NodeLayout) -> None:
    kubectl = layout.programs["kubectl"]
    run_kubectl(kubectl, layout.pki / "admin.kubeconfig", ["apply", "-f", f"{layout.config}/addons.json"])


def _healthy(address: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Run the node of the folder that the first argument names."""
    folder = StateFolder(Path(arguments[0]))
    programs = {name: Path(path) for name, path in json.loads((folder.root / "programs.json").read_text()).items()}
    error = run(NodeLayout(folder, programs))
    os._exit(1 if error else 0)  # at once: all that is left is the kernel's to end


if __name__ == "__main__":
    main(sys.argv[1:])

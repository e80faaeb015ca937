import json
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import components, nodeconfig, pki
from devcluster.components import ControlPlaneLayout
from devcluster.nodelayout import NodeLayout, cgroup_name
from devcluster.programs import PROGRAMS
from devcluster.state import StateFolder

_PROGRAMS = {program.name: Path("/programs") / program.name for program in PROGRAMS}


@pytest.fixture
def layout() -> NodeLayout:
    return NodeLayout(StateFolder(Path("/state")), _PROGRAMS)


_CONTROL_PLANE = ControlPlaneLayout(
    programs=_PROGRAMS,
    pki=Path("/pki"),
    etcd_data=Path("/etcd"),
    bind_address="127.0.0.1",
    advertise_address="127.0.0.1",
    api_port=20001,
    etcd_port=20002,
    etcd_peer_port=20003,
)


def _option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_a_bare_control_plane_knows_no_kubelet() -> None:
    assert not [word for word in components.api_server(_CONTROL_PLANE) if "kubelet" in word]
    with_node = components.api_server(replace(_CONTROL_PLANE, kubelet_address_types="InternalIP"))
    assert _option(with_node, "--kubelet-certificate-authority") == "/pki/ca.crt"


def test_etcd_and_the_api_server_agree_on_the_port_and_stay_on_the_loopback_device() -> None:
    assert _option(components.etcd(_CONTROL_PLANE), "--listen-client-urls") == "http://127.0.0.1:20002"
    assert _option(components.api_server(_CONTROL_PLANE), "--etcd-servers") == "http://127.0.0.1:20002"
    assert _option(components.etcd(_CONTROL_PLANE), "--listen-peer-urls") == "http://127.0.0.1:20003"


@pytest.mark.parametrize("command", [components.controller_manager, components.scheduler])
def test_controllers_listen_on_no_port(command: Callable[[ControlPlaneLayout], list[str]]) -> None:
    assert _option(command(_CONTROL_PLANE), "--secure-port") == "0"


@pytest.mark.parametrize("major", [1, 2])
def test_both_configurations_of_containerd_say_the_same(layout: NodeLayout, major: int) -> None:
    files = nodeconfig.config_files(layout, containerd_major=major)
    config = tomllib.loads(files["containerd.toml"])
    plugins = config["plugins"]
    if major == 1:
        assert config["version"] == 2
        cri = plugins["io.containerd.grpc.v1.cri"]
        facts = (cri["sandbox_image"], cri["registry"]["config_path"], cri["cni"]["conf_dir"], cri["containerd"])
        restricted = cri["restrict_oom_score_adj"]
    else:
        assert config["version"] == 3
        images, runtime = plugins["io.containerd.cri.v1.images"], plugins["io.containerd.cri.v1.runtime"]
        sandbox = images["pinned_images"]["sandbox"]
        facts = (sandbox, images["registry"]["config_path"], runtime["cni"]["conf_dir"], images)
        restricted = runtime["restrict_oom_score_adj"]
    assert facts[:3] == ("localhost/relora-pause:1", "/state/config/registries", "/state/config/cni")
    assert facts[3]["discard_unpacked_layers"] is True
    assert restricted is True
    assert config["root"] == "/state/images/containerd"


def test_images_of_the_registry_are_pulled_from_the_nodes_own_loopback_device(layout: NodeLayout) -> None:
    files = nodeconfig.config_files(layout, containerd_major=1)
    hosts = tomllib.loads(files["registries/registry.relora.local/hosts.toml"])
    registry = json.loads(files["registry.yaml"])
    assert hosts["server"] == f"http://{registry['http']['addr']}"
    assert registry["storage"]["filesystem"]["rootdirectory"] == "/state/images/registry"


def test_the_kubelet_keeps_to_its_own_control_group_and_asks_who_calls(layout: NodeLayout) -> None:
    config = nodeconfig.kubelet(layout)
    assert config["cgroupRoot"] == f"/{cgroup_name(layout.folder)}"
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["readOnlyPort"] == 0


def test_every_file_that_a_configuration_names_is_written(layout: NodeLayout) -> None:
    files = nodeconfig.config_files(layout, containerd_major=1)
    assert json.loads(files["kubelet.yaml"])["resolvConf"] == f"{layout.config}/resolv.conf"
    assert "resolv.conf" in files
    nameserver = files["resolv.conf"].split()[1]
    assert [nameserver] == json.loads(files["kubelet.yaml"])["clusterDNS"]
    assert f"bind {nameserver}" in files["Corefile"]
    assert json.loads(files["cni/10-relora.conflist"])["plugins"][0]["type"] == "ptp"


def test_two_folders_have_two_control_groups(layout: NodeLayout) -> None:
    assert cgroup_name(layout.folder) != cgroup_name(StateFolder(Path("/other")))


def test_the_api_server_is_known_by_every_name_that_clients_use() -> None:
    names = pki.api_server_names(["10.99.0.1", "127.0.0.1"])
    wanted = {"DNS:kubernetes.default.svc", "DNS:localhost", "IP:127.0.0.1", "IP:10.96.0.1", "IP:10.99.0.1"}
    assert wanted <= set(names)
    assert len(names) == len(set(names))


def test_certificates_carry_the_users_that_kubernetes_rules_are_bound_to() -> None:
    all_of_them = (*pki.control_plane_certificates(), *pki.node_certificates("relora", "10.99.0.1"))
    subjects = {certificate.name: certificate.subject for certificate in all_of_them}
    assert subjects["kubelet"] == "/O=system:nodes/CN=system:node:relora"
    assert subjects["kube-scheduler"] == "/CN=system:kube-scheduler"
    assert len(subjects) == len(all_of_them)


def test_issued_certificates_verify_and_private_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    pki.issue(folder, pki.control_plane_certificates())
    for name, authority in (("apiserver", "ca"), ("admin", "ca"), ("front-proxy-client", "front-proxy-ca")):
        subprocess.run(
            ["openssl", "verify", "-CAfile", folder / f"{authority}.crt", folder / f"{name}.crt"],
            check=True,
            capture_output=True,
        )
    assert {path.stat().st_mode & 0o077 for path in folder.glob("*.key")} == {0}
    kubeconfig = pki.write_private(tmp_path / "kubeconfig", pki.kubeconfig(folder, "admin", "https://127.0.0.1:1"))
    assert kubeconfig.stat().st_mode & 0o077 == 0
    assert json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    before = (folder / "ca.crt").read_bytes()
    pki.issue(folder, pki.control_plane_certificates())
    assert (folder / "ca.crt").read_bytes() == before

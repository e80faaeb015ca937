"""Command lines of the control plane's programs. Pure: the same for a bare control plane and for a whole node."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SERVICE_RANGE = "10.96.0.0/16"
CLUSTER_DOMAIN = "cluster.local"
# Default client-side limits (20 requests a second) cost four seconds of a start.
_CLIENT_RATE = ("--kube-api-qps", "500", "--kube-api-burst", "1000")


@dataclass(frozen=True)
class ControlPlaneLayout:
    """Where one control plane keeps its files and listens.

    Attributes:
        programs: Path of each program.
        pki: Folder of certificates and kubeconfigs.
        etcd_data: etcd's data folder.
        bind_address: The address that the API server listens on.
        advertise_address: The address that it tells clients inside the cluster.
        api_port: The API server's port.
        etcd_port: etcd's port for clients, on the loopback device.
        etcd_peer_port: etcd's port for peers, on the loopback device.
        kubelet_address_types: Set for a control plane with a node: how the API server reaches the kubelet.
    """

    programs: Mapping[str, Path]
    pki: Path
    etcd_data: Path
    bind_address: str
    advertise_address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    kubelet_address_types: str = ""

    @property
    def etcd_url(self) -> str:
        """The URL that the API server reaches etcd by."""
        return f"http://127.0.0.1:{self.etcd_port}"


def etcd(layout: ControlPlaneLayout) -> list[str]:
    """Return etcd's command line. Its data is thrown away with the cluster, so it never waits for the disk."""
    peer = f"http://127.0.0.1:{layout.etcd_peer_port}"
    return [
        str(layout.programs["etcd"]),
        *("--data-dir", str(layout.etcd_data)),
        *("--listen-client-urls", layout.etcd_url, "--advertise-client-urls", layout.etcd_url),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
        *("--unsafe-no-fsync", "--log-level", "warn"),
    ]


def api_server(layout: ControlPlaneLayout) -> list[str]:
    """Return kube-apiserver's command line."""
    pki = layout.pki
    command = [
        str(layout.programs["kube-apiserver"]),
        *("--etcd-servers", layout.etcd_url),
        *("--bind-address", layout.bind_address, "--secure-port", str(layout.api_port)),
        *("--advertise-address", layout.advertise_address, "--service-cluster-ip-range", SERVICE_RANGE),
        *("--tls-cert-file", f"{pki}/apiserver.crt", "--tls-private-key-file", f"{pki}/apiserver.key"),
        *("--client-ca-file", f"{pki}/ca.crt", "--anonymous-auth=false"),
        *("--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction"),
        *("--service-account-issuer", f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}"),
        *("--service-account-key-file", f"{pki}/service-accounts.pub"),
        *("--service-account-signing-key-file", f"{pki}/service-accounts.key"),
        # Without an authority for front proxies the controller manager complains about an empty CA bundle for ever.
        *("--requestheader-client-ca-file", f"{pki}/front-proxy-ca.crt"),
        *("--requestheader-allowed-names", "front-proxy-client"),
        *("--requestheader-username-headers", "X-Remote-User"),
        *("--requestheader-group-headers", "X-Remote-Group"),
        *("--requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        *("--proxy-client-cert-file", f"{pki}/front-proxy-client.crt"),
        *("--proxy-client-key-file", f"{pki}/front-proxy-client.key"),
        *("--allow-privileged", "--profiling=false", "--shutdown-delay-duration", "0s"),
    ]
    if layout.kubelet_address_types:
        command += [
            *("--kubelet-preferred-address-types", layout.kubelet_address_types),
            *("--kubelet-certificate-authority", f"{pki}/ca.crt"),
            *("--kubelet-client-certificate", f"{pki}/apiserver-kubelet-client.crt"),
            *("--kubelet-client-key", f"{pki}/apiserver-kubelet-client.key"),
        ]
    return command


def controller_manager(layout: ControlPlaneLayout) -> list[str]:
    """Return kube-controller-manager's command line. It serves nothing, so that clusters need no port for it."""
    pki = layout.pki
    return [
        str(layout.programs["kube-controller-manager"]),
        *("--kubeconfig", f"{pki}/kube-controller-manager.kubeconfig", "--secure-port", "0", "--leader-elect=false"),
        *("--use-service-account-credentials", "--root-ca-file", f"{pki}/ca.crt"),
        *("--service-account-private-key-file", f"{pki}/service-accounts.key"),
        *("--cluster-signing-cert-file", f"{pki}/ca.crt", "--cluster-signing-key-file", f"{pki}/ca.key"),
        *_CLIENT_RATE,
    ]


def scheduler(layout: ControlPlaneLayout) -> list[str]:
    """Return kube-scheduler's command line. It serves nothing, like the controller manager."""
    return [
        str(layout.programs["kube-scheduler"]),
        *("--kubeconfig", f"{layout.pki}/kube-scheduler.kubeconfig", "--secure-port", "0", "--leader-elect=false"),
        *_CLIENT_RATE,
    ]

"""Where one node keeps its files, and its addresses."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from devcluster.state import StateFolder

NODE_NAME = "relora"
# The node has a network of its own, so these never clash with the host's or with another node's.
NODE_IP = "10.99.0.1"
POD_RANGE = "10.244.0.0/24"
API_PORT = 6443
REGISTRY_PORT = 5000
S3_PORT = 7070
DNS_READY_PORT = 8181
# Services of type NodePort with one of these ports are reachable from the host.
NODE_PORTS = (30080, 30081, 30082, 30083)

REGISTRY_NAME = "registry.relora.local"
SYSTEM_NAMESPACE = "relora-devcluster"
S3_IN_CLUSTER = f"http://s3.{SYSTEM_NAMESPACE}.svc"
CNI_PROGRAMS = Path("/usr/lib/cni")
# /run is private to the node: sockets there have short names and die with it.
CONTAINERD_SOCKET = Path("/run/relora/containerd.sock")


@dataclass(frozen=True)
class NodeLayout:
    """The files of one node.

    Attributes:
        folder: The cluster's folder.
        programs: Path of each program.
    """

    folder: StateFolder
    programs: Mapping[str, Path]

    @property
    def root(self) -> Path:
        """The cluster's folder."""
        return self.folder.root

    @property
    def pki(self) -> Path:
        """Certificates and kubeconfigs."""
        return self.folder.pki

    @property
    def config(self) -> Path:
        """The programs' configuration files."""
        return self.root / "config"

    @property
    def images(self) -> Path:
        """The registry's and containerd's stores, which outlive the node so that the next one need not pull."""
        return images_folder(self.folder)

    @property
    def s3(self) -> Path:
        """The S3 gateway's folder: one folder per bucket."""
        return self.root / "s3"

    @property
    def volumes(self) -> Path:
        """A folder for hostPath volumes, removed with the node."""
        return self.root / "volumes"

    @property
    def cgroup(self) -> str:
        """The control group of everything on the node."""
        return cgroup_name(self.folder)

    @property
    def pause_image(self) -> str:
        """The image that holds a pod's namespaces."""
        return "localhost/relora-pause:1"


def images_folder(folder: StateFolder) -> Path:
    """Return the part of a node's folder that outlives the node."""
    return folder.root / "images"


def cgroup_name(folder: StateFolder) -> str:
    """Return the name of a node's control group: one per folder, so that several nodes can run at once."""
    return f"relora-node-{sha256(str(folder.root).encode()).hexdigest()[:8]}"

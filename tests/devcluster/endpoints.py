"""Where a node's services answer, for clients on this machine and for pods."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from devcluster.nodelayout import REGISTRY_NAME, S3_IN_CLUSTER
from devcluster.pki import write_private

_FILE = "endpoints.json"


@dataclass(frozen=True)
class Endpoints:
    """Ports on this machine's loopback device, and the S3 gateway's keys.

    Attributes:
        api_port: The Kubernetes API (use the kubeconfig).
        registry_port: The registry, plain HTTP.
        s3_port: The S3 gateway.
        node_ports: This machine's port for each port that a Service of type NodePort may ask for.
        s3_access_key: The S3 gateway's access key.
        s3_secret_key: The S3 gateway's secret key.
    """

    api_port: int
    registry_port: int
    s3_port: int
    node_ports: dict[int, int]
    s3_access_key: str
    s3_secret_key: str

    @property
    def registry(self) -> str:
        """The registry's host and port for clients on this machine; pods' images name it ``registry.relora.local``."""
        return f"127.0.0.1:{self.registry_port}"

    @property
    def s3(self) -> str:
        """The S3 gateway's URL for clients on this machine."""
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def s3_in_cluster(self) -> str:
        """The S3 gateway's URL for pods."""
        return S3_IN_CLUSTER

    def node_port_url(self, node_port: int) -> str:
        """Return the URL on this machine of the Service that has ``node_port``."""
        return f"http://127.0.0.1:{self.node_ports[node_port]}"

    def describe(self) -> str:
        """Say all of it in lines, without the keys."""
        services = ", ".join(f"{node_port} at 127.0.0.1:{port}" for node_port, port in self.node_ports.items())
        return (
            f"registry  {self.registry} (images are {REGISTRY_NAME}/relora/NAME@sha256:…)\n"
            f"s3        {self.s3} (from pods {self.s3_in_cluster})\n"
            f"services  of type NodePort: {services}"
        )


def write_endpoints(root: Path, endpoints: Endpoints) -> None:
    """Write the endpoints, and the S3 keys as AWS clients read them (``AWS_SHARED_CREDENTIALS_FILE``)."""
    write_private(root / _FILE, json.dumps(asdict(endpoints), indent=1))
    keys = f"aws_access_key_id = {endpoints.s3_access_key}\naws_secret_access_key = {endpoints.s3_secret_key}\n"
    write_private(root / "s3.credentials", f"[default]\n{keys}")


def read_endpoints(root: Path) -> Endpoints:
    """Read what :func:`write_endpoints` wrote."""
    content = json.loads((root / _FILE).read_text())
    ports = {int(node_port): port for node_port, port in content["node_ports"].items()}
    return Endpoints(**{**content, "node_ports": ports})

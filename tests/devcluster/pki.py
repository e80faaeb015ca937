"""The cluster's certificates and kubeconfigs, made with the openssl command."""

import base64
import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devcluster.errors import DevclusterError

SERVICE_IP = "10.96.0.1"  # the first address of the Service range is the API server's
_DAYS = "3650"


@dataclass(frozen=True)
class Certificate:
    """One certificate of the cluster.

    Attributes:
        name: The files' name.
        subject: The distinguished name, as openssl writes it; Kubernetes reads user (CN) and groups (O) from it.
        usage: Whether it proves a server or a client.
        names: Subject alternative names of a server, as openssl writes them.
        authority: The certificate authority that signs it.
    """

    name: str
    subject: str
    usage: Literal["serverAuth", "clientAuth"]
    names: tuple[str, ...] = ()
    authority: str = "ca"


AUTHORITIES = ("ca", "front-proxy-ca")
# Kubernetes' own names for its components: its built-in RBAC rules are bound to them.
CONTROL_PLANE_USERS = {
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
}


def node_users(node_name: str) -> dict[str, str]:
    """Return the kubeconfig users that a node adds to the control plane's."""
    return {
        "kubelet": f"/O=system:nodes/CN=system:node:{node_name}",
        "kube-proxy": "/CN=system:kube-proxy",
        "coredns": "/CN=relora-devcluster:coredns",
    }


def api_server_names(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the names and addresses under which clients may verify the API server."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    unique = dict.fromkeys(["127.0.0.1", SERVICE_IP, *addresses])
    return (*(f"DNS:{name}" for name in (*names, "localhost")), *(f"IP:{address}" for address in unique))


def control_plane_certificates(addresses: Sequence[str] = ()) -> tuple[Certificate, ...]:
    """Return the certificates of a control plane that also answers on ``addresses``."""
    return (
        Certificate("apiserver", "/CN=kube-apiserver", "serverAuth", api_server_names(addresses)),
        Certificate("front-proxy-client", "/CN=front-proxy-client", "clientAuth", authority="front-proxy-ca"),
        *(Certificate(name, subject, "clientAuth") for name, subject in CONTROL_PLANE_USERS.items()),
    )


def node_certificates(node_name: str, address: str) -> tuple[Certificate, ...]:
    """Return the certificates that a node adds to the control plane's."""
    subject = f"/O=system:nodes/CN=system:node:{node_name}"
    names = (f"DNS:{node_name}", f"IP:{address}", "IP:127.0.0.1")
    masters = "/O=system:masters/CN=kube-apiserver-kubelet-client"
    return (
        Certificate("kubelet-serving", subject, "serverAuth", names),
        Certificate("apiserver-kubelet-client", masters, "clientAuth"),
        *(Certificate(name, subject, "clientAuth") for name, subject in node_users(node_name).items()),
    )


def issue(folder: Path, certificates: Sequence[Certificate]) -> None:
    """Make the authorities, the certificates and the service accounts' signing key in ``folder``, once.

    Raises:
        DevclusterError: openssl is missing or refused.
    """
    complete = folder / "complete"
    if complete.exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        service_accounts = pool.submit(_service_account_key, folder)
        for made in [pool.submit(_authority, folder, name) for name in AUTHORITIES]:
            made.result()
        for made in [pool.submit(_sign, folder, certificate) for certificate in certificates]:
            made.result()
        service_accounts.result()
    complete.touch()


def kubeconfig(folder: Path, user: str, server: str) -> str:
    """Return the text of a kubeconfig for ``user`` at ``server``, with the certificates inside it."""

    def embed(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    name = "relora-devcluster"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": embed("ca.crt")}}],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": embed(f"{user}.crt"),
                        "client-key-data": embed(f"{user}.key"),
                    },
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        },
        indent=1,
    )


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
    return path


def _authority(folder: Path, name: str) -> None:
    _openssl(
        *("req", "-x509", "-new", *_new_key(folder, name), "-subj", f"/CN=relora-devcluster-{name}", "-days", _DAYS),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature", "-out", str(folder / f"{name}.crt")),
    )


def _sign(folder: Path, certificate: Certificate) -> None:
    authority = [str(folder / f"{certificate.authority}.{part}") for part in ("crt", "key")]
    names = ("-addext", f"subjectAltName={','.join(certificate.names)}") if certificate.names else ()
    _openssl(
        *("req", "-x509", "-new", *_new_key(folder, certificate.name), "-subj", certificate.subject, "-days", _DAYS),
        *("-CA", authority[0], "-CAkey", authority[1], "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-addext", "keyUsage=critical,digitalSignature", "-addext", f"extendedKeyUsage={certificate.usage}"),
        *(*names, "-out", str(folder / f"{certificate.name}.crt")),
    )


def _new_key(folder: Path, name: str) -> tuple[str, ...]:
    path = folder / f"{name}.key"
    path.touch(mode=0o600)
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path))


def _service_account_key(folder: Path) -> None:
    private = folder / "service-accounts.key"
    private.touch(mode=0o600)
    _openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(private))
    _openssl("pkey", "-in", str(private), "-pubout", "-out", str(folder / "service-accounts.pub"))


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise DevclusterError("openssl is not installed: apt-get install openssl") from None
    if done.returncode:
        raise DevclusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")

"""Debian packages that the node needs, and their installation."""

import os
import shutil
import subprocess
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.progress import Report

# Each package with a file or program that shows that it is there.
NODE_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "nftables": "nft",
    "iproute2": "ip",
    "util-linux": "nsenter",
    "openssl": "openssl",
}
IMAGE_PACKAGES = {
    "buildah": "buildah",
    "skopeo": "skopeo",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc",
    "binutils": "nm",
}


def missing_packages(packages: dict[str, str]) -> list[str]:
    """Return the packages whose file or program is not on this machine."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [
        package
        for package, shown_by in packages.items()
        if not (Path(shown_by).exists() if shown_by.startswith("/") else shutil.which(shown_by, path=path))
    ]


def install_command(packages: list[str]) -> list[str]:
    """Return the command that installs packages without asking."""
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def install_missing(report: Report) -> None:
    """Install what the node and its images need and this machine lacks.

    Raises:
        DevclusterError: It is no Debian machine, this is not root, or apt-get failed.
    """
    missing = missing_packages({**NODE_PACKAGES, **IMAGE_PACKAGES})
    if not missing:
        report("all Debian packages are installed")
        return
    if shutil.which("apt-get") is None:
        raise DevclusterError(f"install these by this system's own means, as it has no apt-get: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise DevclusterError(f"only root installs packages: sudo {' '.join(install_command(missing))}")
    report(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], install_command(missing)):
        done = subprocess.run([*command, "-qq"], capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise DevclusterError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")

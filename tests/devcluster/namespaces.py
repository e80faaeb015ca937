"""The node's private network and mounts, made from inside its private process and mount namespaces."""

import ctypes
import os
import subprocess
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.nodelayout import NODE_IP

_CLONE_NEWNET = 0x40000000
# What makes the private namespaces that the first process of a node starts in. The kernel ends all processes of the
# node when that first one ends, and unshare takes that one along when it is killed itself.
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")


def enter_private_network() -> None:
    """Move this process to a network of its own. Sockets that are open stay in the old one.

    Raises:
        OSError: This is not root, or the kernel does not let it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare(CLONE_NEWNET): {os.strerror(number)}")


def mount_private(root: Path) -> None:
    """Give the node its own /run, /var/log and /var/lib/cni, which vanish with it."""
    _run("mount", "--make-rshared", "/")
    _run("mount", "-t", "tmpfs", "-o", "mode=755,size=512m", "tmpfs", "/run")
    for folder in ("/run/lock", "/run/netns", "/run/relora"):
        Path(folder).mkdir()
    for target in (Path("/var/log"), Path("/var/lib/cni")):
        source = root / "mounts" / target.name
        source.mkdir(parents=True, exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(source), str(target))


def make_links() -> None:
    """Give the private network an address and a way to every Service.

    Without a default route the kernel refuses a connection to a Service's address before kube-proxy's rules see it.
    A pair of virtual devices is used because not every kernel has a dummy one.
    """
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node0p")
    _run("ip", "address", "add", f"{NODE_IP}/24", "dev", "node0")
    _run("ip", "link", "set", "node0p", "up")
    _run("ip", "link", "set", "node0", "up")
    _run("ip", "route", "add", "default", "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise DevclusterError(f"{' '.join(command)}: {done.stderr.strip()}")

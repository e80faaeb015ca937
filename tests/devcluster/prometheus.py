"""Finds Prometheus and promtool."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.paths import cache_root
from devcluster.progress import Report

PROGRAMS = ("prometheus", "promtool")

_REMEDY = f"put {' and '.join(PROGRAMS)} into one folder of the PATH"


def find_prometheus(report: Report) -> Path:
    """Return a folder with both programs: of the PATH, else of Debian's package.

    The package is unpacked into the cache: installing it would start a service. That needs no root.

    Args:
        report: Takes lines of progress.

    Raises:
        DevclusterError: It is no Debian machine, or its archive cannot be reached.
    """
    for place in os.get_exec_path():
        if all((Path(place) / name).exists() for name in PROGRAMS):
            return Path(place)
    folder = cache_root() / "prometheus"
    if not folder.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise DevclusterError(f"no Prometheus: this is no Debian, so {_REMEDY}")
        report("fetching Debian's package of Prometheus")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _unpack(Path(scratch)).rename(folder)
    return folder


def _unpack(scratch: Path) -> Path:
    """Return the folder of programs of the newest package, below `scratch`."""
    # Lists of its own: those of the system may be empty, and only root writes there.
    state = [f"Dir::State::Lists={scratch}/lists", f"Dir::Cache={scratch}/cache", "Debug::NoLocking=true"]
    patience = ["Acquire::Retries=2", "Acquire::http::Timeout=20", "Acquire::https::Timeout=20"]
    user = ["APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    for name in ("lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True)
    apt = ["apt-get", "-qq", *(part for option in [*state, *patience, *user] for part in ("-o", option))]
    _run([*apt, "update"], scratch)
    _run([*apt, "download", "prometheus"], scratch)
    packages = list(scratch.glob("prometheus_*.deb"))
    if len(packages) != 1:
        raise DevclusterError("no Prometheus: apt-get downloaded nothing")
    _run(["dpkg-deb", "--extract", str(packages[0]), str(scratch / "root")], scratch)
    return scratch / "root/usr/bin"


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"no Prometheus: {command[0]} failed ({done.stderr.strip()[-500:]}); {_REMEDY}")

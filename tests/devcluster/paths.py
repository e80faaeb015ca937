"""Where the cluster keeps what it builds and what it runs on."""

import os
from collections.abc import Mapping
from pathlib import Path

GO_MODULE = Path(__file__).with_name("go")
# A module of its own: what the cluster is built from, and so its digest, does not change with the benches' kubelet.
KWOK_MODULE = Path(__file__).with_name("kwok")


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return ``$RELORA_CACHE/devcluster``, by default ``~/.cache/relora/devcluster``."""
    configured = environ.get("RELORA_CACHE")
    return (Path(configured) if configured else Path.home() / ".cache" / "relora").absolute() / "devcluster"


def default_state(*, node: bool) -> Path:
    """Return the folder of a cluster that was started without ``--state``."""
    return cache_root() / "state" / ("node" if node else "controlplane")


def read_tail(path: Path, characters: int = 2000) -> str:
    """Return the end of a log file, or nothing where there is none."""
    try:
        return path.read_text(errors="replace")[-characters:].strip()
    except FileNotFoundError:
        return ""

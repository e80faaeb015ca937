"""Control groups of one node, on a machine with control groups of either version."""

import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS_V2 = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
# Daemons get a group of their own in these hierarchies, so that their memory counts as the node's.
_JOINED_V1 = ("memory", "pids")


def version(root: Path = _ROOT) -> int:
    """Return 2 where the machine has the unified hierarchy, else 1."""
    return 2 if (root / "cgroup.controllers").exists() else 1


def hierarchies(root: Path = _ROOT) -> list[Path]:
    """Return the folders in which groups are made: one with version 2, one per controller with version 1."""
    if version(root) == 2:
        return [root]
    # Two names of one hierarchy (cpu and cpu,cpuacct) are one folder behind a link.
    return [path for path in sorted(root.iterdir()) if not path.is_symlink() and (path / "cgroup.procs").exists()]


def create(name: str, root: Path = _ROOT) -> None:
    """Make a node's group and move the calling process into its part for daemons."""
    unified = version(root) == 2
    for hierarchy in hierarchies(root):
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        if unified:
            _delegate(hierarchy)
            _delegate(group)
        if unified or hierarchy.name in _JOINED_V1:
            daemons = group / "daemons"
            daemons.mkdir(exist_ok=True)
            (daemons / "cgroup.procs").write_text("0")


def remove(name: str, root: Path = _ROOT) -> None:
    """Remove a node's groups, waiting for the last processes in them to be gone.

    Raises:
        OSError: A process is still in one of them after five seconds.
    """
    for hierarchy in hierarchies(root):
        groups = (
            [path for path in (hierarchy / name).rglob("*") if path.is_dir()] if (hierarchy / name).exists() else []
        )
        for group in [*sorted(groups, reverse=True), hierarchy / name]:
            _remove_group(group)


def _delegate(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    wanted = [f"+{controller}" for controller in _CONTROLLERS_V2 if controller in available]
    (group / "cgroup.subtree_control").write_text(" ".join(wanted))


def _remove_group(group: Path) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return

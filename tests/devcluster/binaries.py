"""Finds the cluster's programs: given ones first, then the cache, then a build."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from devcluster.gobuild import build
from devcluster.programs import Program, Target, programs_of, version_fits
from devcluster.progress import Report

_VERSION_SECONDS = 20


def find_programs(target: Target, report: Report, environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return where each program of ``target`` is, building what is nowhere.

    A program is taken from ``KUBEBUILDER_ASSETS`` or else from the ``PATH`` when its version fits. What neither has
    comes from the cache, where it is built once from the Go module proxy. There is no download of official binaries:
    a checksum that nobody here has verified would pin nothing.
    """
    found = {}
    missing = []
    for program in programs_of(target):
        path = given_program(program, environ)
        if path is None:
            missing.append(program)
        else:
            found[program.name] = path
    if missing:
        folder = build(target, report)
        found.update({program.name: folder / program.name for program in missing})
    return found


def given_program(
    program: Program,
    environ: Mapping[str, str] = os.environ,
    print_version: Callable[[Path, Program], str] | None = None,
) -> Path | None:
    """Return a program that the machine already has in a version that fits, or nothing."""
    printer = print_version or _print_version
    for folder in (environ.get("KUBEBUILDER_ASSETS"), environ.get("PATH")):
        path = shutil.which(program.name, path=folder) if folder else None
        if path and version_fits(program, printer(Path(path), program)):
            return Path(path)
    return None


def _print_version(path: Path, program: Program) -> str:
    if not program.version_arguments:
        return ""
    try:
        done = subprocess.run(
            [path, *program.version_arguments],
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr

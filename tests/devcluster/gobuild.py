"""Builds the cluster's programs from the Go module proxy."""

import fcntl
import hashlib
import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.gotoolchain import find_go
from devcluster.paths import GO_MODULE, KWOK_MODULE, cache_root
from devcluster.programs import Program, Target, programs_of
from devcluster.progress import Report, Ticker, elapsed, run_reported

_NICE = ("nice", "-n", "10")
_COMPILER_FLAGS = ("-trimpath", "-buildvcs=false")
# GOGC: the compiler collects its garbage less often, which saves a quarter of its time and costs memory.
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOGC": "400"}
_KUBERNETES = "k8s.io/kubernetes"
# The dependency whose version names what a module builds.
_NAMESAKES = {KWOK_MODULE: "sigs.k8s.io/kwok"}


def module_version(go_mod: str, module: str) -> str:
    """Return the version of ``module`` that the text of a go.mod requires."""
    version = _required(go_mod, module)
    if version is None:
        raise DevclusterError(f"go.mod does not require {module}")
    return version


def _required(go_mod: str, module: str) -> str | None:
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    return found.group(1) if found else None


def link_flags(go_mod: str) -> str:
    """Return the linker's flags: no symbols, and the versions that the cluster's programs report."""
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in _reported(go_mod).items())])


def _reported(go_mod: str) -> dict[str, str]:
    if _required(go_mod, _KUBERNETES) is None:
        return {}
    kubernetes = module_version(go_mod, _KUBERNETES)
    major, minor, _ = kubernetes.removeprefix("v").split(".", 2)
    return {
        "k8s.io/component-base/version.gitVersion": kubernetes,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "github.com/distribution/distribution/v3/version.version": module_version(
            go_mod, "github.com/distribution/distribution/v3"
        ),
        "helm.sh/helm/v4/internal/version.version": module_version(go_mod, "helm.sh/helm/v4"),
    }


def build_key(module: Path = GO_MODULE) -> str:
    """Name what a build makes: its version, the machine's kind, and a digest of all that goes into it."""
    digest = hashlib.sha256()
    for path in sorted([module / "go.mod", module / "go.sum", *module.glob("cmd/*/*.go")]):
        digest.update(path.relative_to(module).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    go_mod = (module / "go.mod").read_text()
    digest.update(link_flags(go_mod).encode())
    namesake = _NAMESAKES.get(module, _KUBERNETES)
    return f"{module_version(go_mod, namesake)}-{platform.machine()}-{digest.hexdigest()[:12]}"


def built_programs(module: Path = GO_MODULE) -> Path:
    """Return the folder of the cache that holds, or will hold, the programs of this checkout's versions."""
    return cache_root() / build_key(module) / "bin"


def missing_programs(target: Target) -> tuple[Program, ...]:
    """Return the programs of ``target`` that have not been built yet."""
    folder = built_programs(target.module)
    return tuple(program for program in programs_of(target) if not (folder / program.name).exists())


def build(target: Target, report: Report) -> Path:
    """Build the programs of ``target`` unless they are in the cache.

    Args:
        target: What to build.
        report: Takes one line of progress at a time.

    Returns:
        The folder that holds the programs.

    Raises:
        DevclusterError: There is no Go toolchain, or the build failed; the message ends with the compiler's words.
    """
    folder = built_programs(target.module)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent / f"{target}.lock", report):
        if missing_programs(target):
            started = time.monotonic()
            go = find_go((target.module / "go.mod").read_text(), report)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{target}-") as scratch:
                _compile(go, target, Path(scratch), report)
                _install(target, Path(scratch), folder)
            report(f"built the {target} programs in {elapsed(time.monotonic() - started)}")
    return folder


def _compile(go: Path, target: Target, output: Path, report: Report) -> None:
    packages = sorted({program.package for program in programs_of(target)})
    with Ticker(report, lambda: f"{target}: fetching modules"):
        count = _count_stale(go, target.module, packages)
    flags = ["-v", *_COMPILER_FLAGS, "-ldflags", link_flags((target.module / "go.mod").read_text())]

    def doing(compiled: list[str]) -> str:
        counted = f"{len(compiled)} of {count} packages" if len(compiled) < count else "linking"
        return f"{target}: {counted}"

    run_reported(
        f"building the {target} programs",
        [*_NICE, str(go), "build", *flags, "-o", f"{output}/", *packages],
        report,
        environment=_ENVIRONMENT,
        folder=target.module,
        doing=doing,
    )


def _count_stale(go: Path, module: Path, packages: Sequence[str]) -> int:
    listing = subprocess.run(
        [*_NICE, str(go), "list", *_COMPILER_FLAGS, "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", *packages],
        cwd=module,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        raise DevclusterError(f"the Go modules could not be fetched:\n{listing.stderr.strip()[-2000:]}")
    return len(listing.stdout.split())


def _install(target: Target, built: Path, folder: Path) -> None:
    for program in programs_of(target):
        shared = folder / program.file
        if (built / program.file).exists():
            (built / program.file).replace(shared)
        if program.name != program.file:
            link = built / f"{program.name}.link"
            link.symlink_to(program.file)
            link.replace(folder / program.name)


@contextmanager
def _lock(path: Path, report: Report) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another build ({path})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

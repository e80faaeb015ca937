"""Small stand-ins for the CUDA libraries that torch's wheel is linked to, for images that run on a CPU only.

The loader wants every library and every symbol that torch names. A machine without a GPU never calls them, so each
function of a stub returns 1, which CUDA's libraries mean as an error. The versions of symbols are kept, as the loader
compares them.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.progress import Report

# torch calls these when it is imported: the real ones are small and stay.
_REAL = ("libcudart", "libcupti", "libnvtx3interop")
_FUNCTION_TYPES = "TtWiV"


@dataclass(frozen=True)
class Symbol:
    """One dynamic symbol.

    Attributes:
        kind: The letter that nm gives it.
        version: Its version, empty for none.
    """

    kind: str
    version: str


def parse_symbols(listing: str) -> dict[str, Symbol]:
    """Return the symbols in what ``nm --dynamic`` printed."""
    symbols = {}
    for line in listing.splitlines():
        *_, kind, name = line.split()
        plain, _, version = name.partition("@")
        symbols[plain] = Symbol(kind, version.lstrip("@"))
    return symbols


def stub_symbols(wanted: dict[str, Symbol], defined: dict[str, Symbol]) -> dict[str, str]:
    """Return C declarations of the symbols that a library defines and torch wants, by name.

    Symbols of C++ (``_Z…``) are left out: a stub that defined one would take it away from the library that has it.
    """
    shared = {name: defined[name] for name in wanted if name in defined and not name.startswith("_Z")}
    foreign = ("GLIBC", "CXXABI", "GCC")
    return {
        name: f"int {name}(void) {{ return 1; }}" if symbol.kind in _FUNCTION_TYPES else f"char {name}[64];"
        for name, symbol in shared.items()
        if symbol.kind != "A" and not wanted[name].version.startswith(foreign)
    }


def version_script(wanted: dict[str, Symbol], names: Iterable[str]) -> str:
    """Return the linker's version script that gives each symbol the version that torch wants."""
    versions: dict[str, list[str]] = {}
    for name in names:
        if wanted[name].version:
            versions.setdefault(wanted[name].version, []).append(name)
    return "\n".join(f"{version} {{ global: {'; '.join(members)}; }};" for version, members in versions.items())


def write_stubs(site_packages: Path, output: Path, report: Report) -> None:
    """Write a stub for every large CUDA library that torch's libraries are linked to.

    Args:
        site_packages: Where torch and the real libraries are installed.
        output: Takes the place of ``site_packages/nvidia``.
        report: Takes lines of progress.

    Raises:
        DevclusterError: torch is not installed there, or a stub did not compile.
    """
    torch = sorted((site_packages / "torch" / "lib").glob("*.so*"))
    if not torch:
        raise DevclusterError(f"no torch in {site_packages}: install the project's trainer extra to read its symbols")
    wanted: dict[str, Symbol] = {}
    needed: set[str] = set()
    for library in torch:
        wanted.update(parse_symbols(_run("nm", "--dynamic", "--undefined-only", str(library))))
        needed.update(re.findall(r"\(NEEDED\).*\[(.*)\]", _run("readelf", "--dynamic", str(library))))
    written = 0
    for library in sorted((site_packages / "nvidia").glob("*/lib/*.so*")):
        if library.name.startswith(_REAL):
            continue
        found = re.search(r"\(SONAME\).*\[(.*)\]", _run("readelf", "--dynamic", str(library)))
        name = found.group(1) if found else library.name
        if name not in needed:
            continue
        defined = parse_symbols(_run("nm", "--dynamic", "--defined-only", str(library)))
        target = output / library.relative_to(site_packages / "nvidia")
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile(target, name, stub_symbols(wanted, defined), wanted)
        written += 1
    report(f"made {written} stubs for CUDA libraries")


def _compile(target: Path, soname: str, declarations: dict[str, str], wanted: dict[str, Symbol]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "stub.c"
        source.write_text("\n".join(declarations.values()) + "\n")
        flags = ["-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{soname}"]
        script = version_script(wanted, declarations)
        if script:
            (Path(scratch) / "stub.map").write_text(script)
            flags.append(f"-Wl,--version-script={scratch}/stub.map")
        _run("gcc", *flags, "-o", str(target), str(source))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise DevclusterError(f"{command[0]} failed on {command[-1]}: {done.stderr.strip()[-1000:]}")
    return done.stdout

"""Expected texts that lie in files, and the Helm program."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from devcluster.binaries import given_program
from devcluster.gobuild import built_programs
from devcluster.programs import PROGRAMS

CHART = Path(__file__).parents[2] / "charts/relora-operator"
EXPECTED = Path(__file__).parent / "expected"
DIGEST = "sha256:" + "0123456789abcdef" * 4

Render = Callable[..., str]


@pytest.fixture
def expect() -> Callable[[str, str], None]:
    """Compare a text with a file of `expected/`; RELORA_UPDATE_GOLDEN=1 writes the file instead."""

    def compare(name: str, text: str) -> None:
        path = EXPECTED / name
        if os.environ.get("RELORA_UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, "if the change is wanted: RELORA_UPDATE_GOLDEN=1"

    return compare


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm 4, given by the machine or built for the local cluster."""
    (program,) = (program for program in PROGRAMS if program.name == "helm")
    built = built_programs() / "helm"
    found = given_program(program) or (built if built.exists() else None)
    if found is None:
        pytest.skip("Helm 4 is neither on the PATH nor built: run `make cluster-up`, or install it")
    return found


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """Render the chart with an image and the given `--set` arguments; `check=False` returns Helm's error."""

    def run(*settings: str, check: bool = True, image: bool = True) -> str:
        given = [f"image.digest={DIGEST}", "image.repository=registry.example/relora-operator"] if image else []
        arguments = [part for setting in (*given, *settings) for part in ("--set", setting)]
        done = subprocess.run(
            [helm, "template", "relora", CHART, "--namespace", "relora-system", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is check, done.stderr
        return done.stdout if check else done.stderr

    return run


@pytest.fixture(scope="session")
def documents(render: Render) -> list[dict[str, object]]:
    """The chart's objects with default values."""
    return [document for document in yaml.safe_load_all(render()) if document]

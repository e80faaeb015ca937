"""Technical English for continued pre-training: the docstrings of installed scientific packages.

They are real documentation, their versions are pinned by the project's lock file, and they need no download.
"""

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("networkx", "scipy")
MIN_CHARACTERS = 400


def versions() -> dict[str, str]:
    """Return the installed version of each package whose docstrings are used."""
    return {package: version(package) for package in PACKAGES}


def documents() -> list[str]:
    """Return all docstrings of at least ``MIN_CHARACTERS``, without repetition, in an order set by their hashes."""
    found = {text for package in PACKAGES for source in _sources(package) for text in docstrings(source)}
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())


def docstrings(source: str) -> Iterator[str]:
    """Yield the dedented docstrings of a module's source that are long enough to read as a text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None and len(cleaned := inspect.cleandoc(text)) >= MIN_CHARACTERS:
                yield cleaned


def _sources(package: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed; run `uv sync --all-extras --all-groups`")
    root = Path(spec.origin).parent
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            yield path.read_text(encoding="utf-8")

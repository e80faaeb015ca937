"""Which file names an artifact may have. Names come from strangers and become paths, so they are allow-listed."""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath

from relora_store.errors import IntegrityError

MOST_FILES = 10_000
MOST_PARTS = 8
MOST_CHARACTERS = 512

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,199}")
_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".dill"})
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".whl"})
_CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".sh", ".ipynb"})
_MODEL_FILES = frozenset({".safetensors", ".json", ".jsonl", ".txt", ".model", ".jinja", ".md", ".parquet"})
_DATA_FILES = frozenset({".json", ".jsonl", ".parquet"})
_PLAIN_NAMES = frozenset({"LICENSE", "NOTICE"})


class Content(StrEnum):
    """What an artifact is, which decides what may lie in it."""

    ADAPTER = "adapter"
    BASE = "base"
    STATE = "state"
    """Deltas and training states."""
    DATA = "data"

    @property
    def header_limit(self) -> int:
        """Longest header of a safetensors file, in bytes. Bases, deltas and states have every module of a model."""
        return 1024 * 1024 if self is Content.ADAPTER else 16 * 1024 * 1024


def check_names(names: Iterable[str], content: Content) -> None:
    """Check the names of all files of an artifact.

    Raises:
        IntegrityError: A name could leave the folder or hides, a file's kind is not allowed, a file is named like a
            folder, or there are none or too many.
    """
    found = set(names)
    if not found:
        raise IntegrityError("the artifact has no files")
    if len(found) > MOST_FILES:
        raise IntegrityError(f"the artifact has {len(found)} files; at most {MOST_FILES} are read")
    for name in sorted(found):
        check_name(name, content)
        for folder in PurePosixPath(name).parents:
            if str(folder) in found:
                raise IntegrityError(f"{folder} is both a file and a folder")


def check_name(name: str, content: Content) -> None:
    """Check one relative name, with `/` between its parts.

    Raises:
        IntegrityError: See `check_names`.
    """
    parts = name.split("/")
    shown = ascii(name[:120])
    if len(name) > MOST_CHARACTERS or len(parts) > MOST_PARTS or not all(_PART.fullmatch(part) for part in parts):
        raise IntegrityError(
            f"{shown} is not an allowed file name: use letters, digits and _ . + = @ - in each part, "
            "with no leading dot, and leave out what does not belong to the artifact"
        )
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _PICKLES:
        raise IntegrityError(f"{shown} may hold pickled code; only safetensors weights are read")
    if suffix in _ARCHIVES:
        raise IntegrityError(f"{shown} is an archive; upload the files themselves")
    if suffix in _CODE:
        raise IntegrityError(f"{shown} is code; no artifact may bring its own")
    allowed = _DATA_FILES if content is Content.DATA else _MODEL_FILES
    if suffix not in allowed and (content is Content.DATA or parts[-1] not in _PLAIN_NAMES):
        raise IntegrityError(f"{shown} is of a kind that is not read; allowed are {' '.join(sorted(allowed))}")

"""A local folder as a store: atomic creation by hard link, symbolic links refused."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from relora_store.errors import IntegrityError, NotFoundError
from relora_store.localfiles import CHUNK_BYTES, FILE_MODE, translated
from relora_store.objects import AlreadyExistsError

UNFINISHED = ".new-"
"""How the name of a file begins that is being written; a writer that is killed leaves it."""


class LocalObjects:
    """The files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def size(self, key: str) -> int:
        """Return the size of one file in bytes."""
        with translated(self._path(key)):
            return _regular(self._path(key)).st_size

    def sizes(self) -> dict[str, int]:
        """Return the size of every file below the root."""
        sizes: dict[str, int] = {}
        with translated(self._root):
            if self._root.is_dir():
                self._collect(self._root, "", sizes)
        return sizes

    def _collect(self, folder: Path, prefix: str, sizes: dict[str, int]) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    self._collect(Path(entry.path), f"{prefix}{entry.name}/", sizes)
                else:
                    sizes[prefix + entry.name] = _regular(Path(entry.path)).st_size

    def read(self, key: str, limit: int) -> bytes:
        """Return one small file."""
        with translated(self._path(key)), self._open(key) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise IntegrityError(f"{self._path(key)} is larger than the {limit} bytes that such a file may have")
        return data

    def stream(self, key: str, size: int) -> Iterator[bytes]:
        """Yield the first `size` bytes of one file."""
        with translated(self._path(key)), self._open(key) as file:
            left = size
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def create(self, key: str, data: bytes) -> None:
        """Write one file if there is none of that name."""

        def write(file: IO[bytes]) -> None:
            file.write(data)

        self._create(key, write)

    def create_from_file(self, key: str, path: Path, digest: str) -> None:
        """Copy one file if there is none of that name."""

        def write(file: IO[bytes]) -> None:
            hasher = hashlib.sha256()
            with path.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    hasher.update(chunk)
                    file.write(chunk)
            if f"sha256:{hasher.hexdigest()}" != digest:
                raise IntegrityError(f"{path} changed while it was published")

        self._create(key, write)

    def remove(self, key: str) -> None:
        """Remove one file; where there is none, do nothing."""
        with translated(self._path(key)):
            self._path(key).unlink(missing_ok=True)

    def _create(self, key: str, write: Callable[[IO[bytes]], None]) -> None:
        target = self._path(key)
        with translated(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            # A link never replaces its target, as a rename would, and appears with all its bytes.
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=UNFINISHED) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), FILE_MODE)
                try:
                    os.link(file.name, target)
                except FileExistsError as error:
                    raise AlreadyExistsError(key) from error
            _sync_folder(target.parent)

    def _path(self, key: str) -> Path:
        return self._root / key if key else self._root

    def _open(self, key: str) -> IO[bytes]:
        path = self._path(key)
        # Without O_NONBLOCK a named pipe would hold us for ever before we could refuse it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _check_regular(path, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")


def _regular(path: Path) -> os.stat_result:
    status = path.lstat()
    _check_regular(path, status)
    return status


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotFoundError(f"{path} is a folder, not a file")
    if stat.S_ISLNK(status.st_mode):
        raise IntegrityError(f"{path} is a symbolic link; copy the folder with its links resolved (cp -rL)")
    if not stat.S_ISREG(status.st_mode):
        raise IntegrityError(f"{path} is neither a file nor a folder")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Local files: errors in our terms, digests, atomic replacement."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relora_store.errors import ConfigurationError, DeniedError, IntegrityError, NotFoundError, TemporaryError

CHUNK_BYTES = 4 * 1024 * 1024
FILE_MODE = 0o644
"""What is fetched here may be read by a container of another user."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about `path` into store errors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} does not exist") from error
    except PermissionError as error:
        raise DeniedError(f"{path} cannot be used: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise IntegrityError(f"{path} is a symbolic link; copy the folder with its links resolved") from error
        if error.errno in {errno.EROFS, errno.ENAMETOOLONG, errno.EINVAL}:
            raise ConfigurationError(f"{path} cannot be used: {error.strerror}") from error
        raise TemporaryError(f"{path}: {error.strerror or error}") from error


def file_digest(path: Path) -> str:
    """Return `sha256:<hex>` of a file's bytes, read in pieces."""
    with translated(path), path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a local file of ours, so that a reader sees the old content or the new one."""
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(descriptor, FILE_MODE)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise

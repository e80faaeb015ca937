"""Blobs: files under the digest of their bytes, verified whenever they are read."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from relora_contract.artifacts import BLOB_FOLDER
from relora_contract.digests import FileEntry, hex_part
from relora_store.errors import IntegrityError, NotFoundError
from relora_store.localfiles import FILE_MODE, file_digest, translated
from relora_store.objects import AlreadyExistsError, Objects


def blob_key(digest: str) -> str:
    """Return the key of a blob below the store's root."""
    return f"{BLOB_FOLDER}/{hex_part(digest)}"


def put_blob(objects: Objects, path: Path) -> FileEntry:
    """Store a file under its digest, unless it is there already.

    Raises:
        IntegrityError: The file changed meanwhile, or other bytes lie under its digest.
    """
    entry = describe_file(path)
    put_described(objects, path, entry)
    return entry


def describe_file(path: Path) -> FileEntry:
    """Return size and digest of a local file."""
    with translated(path):
        size = path.stat().st_size
    return FileEntry(size=size, digest=file_digest(path))


def put_described(objects: Objects, path: Path, entry: FileEntry) -> None:
    """Store a file of known size and digest, unless it is there already. Raises as `put_blob` does."""
    key = blob_key(entry.digest)
    if not _holds(objects, key, entry):
        try:
            objects.create_from_file(key, path, entry.digest)
        except AlreadyExistsError:
            _verify(objects, key, entry)


def _holds(objects: Objects, key: str, entry: FileEntry) -> bool:
    try:
        objects.size(key)
    except NotFoundError:
        return False
    _verify(objects, key, entry)
    return True


def _verify(objects: Objects, key: str, entry: FileEntry) -> None:
    for _ in stream_verified(objects, key, entry):
        pass


def stream_verified(objects: Objects, key: str, entry: FileEntry) -> Iterator[bytes]:
    """Yield an object's bytes; raise at their end unless they have the size and the digest of `entry`.

    Raises:
        IntegrityError: They do not; what was yielded is not to be used.
    """
    size = objects.size(key)
    if size != entry.size:
        raise IntegrityError(f"{key} has {size} bytes where {entry.size} are expected")
    hasher = hashlib.sha256()
    for chunk in objects.stream(key, size):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != hex_part(entry.digest):
        raise IntegrityError(f"{key} has digest sha256:{hasher.hexdigest()}, expected is {entry.digest}")


def stream_digest(objects: Objects, key: str, size: int, advance: Callable[[int], None]) -> str:
    """Return the digest of an object of `size` bytes; `advance` is told each piece's length.

    Raises:
        IntegrityError: The object is shorter.
    """
    hasher = hashlib.sha256()
    seen = 0
    for chunk in objects.stream(key, size):
        hasher.update(chunk)
        seen += len(chunk)
        advance(len(chunk))
    if seen != size:
        raise IntegrityError(f"{key} ended after {seen} of {size} bytes; it changed while it was read")
    return f"sha256:{hasher.hexdigest()}"


def write_verified(chunks: Iterator[bytes], destination: Path, advance: Callable[[int], None]) -> str:
    """Write what `chunks` yields to a new file and return its digest.

    The file appears under its name when `chunks` has ended without an error, and not before.
    """
    hasher = hashlib.sha256()
    with translated(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=destination.parent, prefix=".part-")
    part = Path(name)
    try:
        with translated(destination), os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                hasher.update(chunk)
                file.write(chunk)
                advance(len(chunk))
            os.fchmod(file.fileno(), FILE_MODE)
        with translated(destination):
            part.replace(destination)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return f"sha256:{hasher.hexdigest()}"

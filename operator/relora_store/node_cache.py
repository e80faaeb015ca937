"""A folder on the node that several pods share: files by digest, copied out and verified, never linked.

A hard link would let the container that received a file change it for all others. Nothing is removed here; the
volume's owner decides when it is emptied.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from relora_contract.digests import FileEntry, canonical_json, folder_digest, hex_part
from relora_store.blobs import blob_key, stream_verified, write_verified
from relora_store.errors import IntegrityError, NotFoundError, StoreError
from relora_store.local_objects import LocalObjects
from relora_store.localfiles import file_digest
from relora_store.objects import AlreadyExistsError
from relora_store.store import RECORD_LIMIT_BYTES

_FILES = TypeAdapter(dict[str, FileEntry])


class NodeCache:
    """Verified files by digest, and the lists of files of folders by folder digest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = LocalObjects(root)

    def take(self, entry: FileEntry, destination: Path, advance: Callable[[int], None]) -> bool:
        """Copy a file out. False: it is not here, it was damaged and is removed, or it has another size."""
        key = blob_key(entry.digest)
        try:
            write_verified(stream_verified(self._objects, key, entry), destination, advance)
        except NotFoundError:
            return False
        except IntegrityError:
            self._remove_damaged(self._root / key, entry.digest)
            return False
        return True

    def _remove_damaged(self, path: Path, digest: str) -> None:
        """Remove a file that is not what its name says; one that is, another pod may need."""
        # A full or read-only cache must not keep a server from starting.
        with suppress(StoreError, OSError):
            if file_digest(path) != digest:
                path.unlink()

    def offer(self, entry: FileEntry, path: Path) -> None:
        """Keep a copy of a verified file."""
        with suppress(AlreadyExistsError):
            self._objects.create_from_file(blob_key(entry.digest), path, entry.digest)

    def files_of(self, digest: str) -> dict[str, FileEntry] | None:
        """Return the files of the folder of this digest, when its list is here and has the digest."""
        try:
            files = _FILES.validate_json(self._objects.read(_folder_key(digest), RECORD_LIMIT_BYTES))
        except (NotFoundError, IntegrityError, ValidationError):
            return None
        return files if folder_digest(files) == digest else None

    def remember(self, files: dict[str, FileEntry]) -> None:
        """Keep the list of files of a folder."""
        data = canonical_json({name: entry.to_json() for name, entry in files.items()})
        with suppress(AlreadyExistsError):
            self._objects.create(_folder_key(folder_digest(files)), data)


def _folder_key(digest: str) -> str:
    return f"folders/sha256/{hex_part(digest)}.json"

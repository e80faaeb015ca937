"""What we ask of a storage system: seven calls that an S3 bucket and a local folder both answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class AlreadyExistsError(Exception):
    """The key of a conditional write is taken."""


class Objects(Protocol):
    """Objects below one root, named by keys with `/` between their parts.

    Every call raises a `StoreError` of the kind that fits. Keys are checked by the caller: they come from digests, or
    from names that `relora_store.names` accepted.
    """

    def size(self, key: str) -> int:
        """Return the size of one object in bytes; the empty key is the root itself."""

    def sizes(self) -> dict[str, int]:
        """Return the size of every object below the root, by its key. Nothing there: an empty dict."""

    def read(self, key: str, limit: int) -> bytes:
        """Return one small object. More than `limit` bytes is an `IntegrityError`."""

    def stream(self, key: str, size: int) -> Iterator[bytes]:
        """Yield the first `size` bytes of one object in pieces of a few MiB; fewer when it is shorter."""

    def create(self, key: str, data: bytes) -> None:
        """Write one object, whole or not at all, if the key is free.

        Raises:
            AlreadyExistsError: It is not; the stored object is as it was.
        """

    def create_from_file(self, key: str, path: Path, digest: str) -> None:
        """Write one object with the content of a file, whole or not at all, if the key is free.

        Raises:
            AlreadyExistsError: It is not; the stored object is as it was.
            IntegrityError: The bytes that were read from the file do not have the digest; nothing was written.
        """

    def remove(self, key: str) -> None:
        """Remove one object; where there is none, do nothing. Only checkpoints are ever removed."""

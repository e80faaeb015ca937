"""Copy the files of one artifact to a local folder, several at a time; what is complete there is kept."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from relora_contract.digests import FileEntry
from relora_store.blobs import stream_verified, write_verified
from relora_store.errors import IntegrityError
from relora_store.localfiles import file_digest
from relora_store.node_cache import NodeCache
from relora_store.objects import Objects
from relora_store.progress import Progress

DOWNLOADS = 4


@dataclass(frozen=True)
class Remote:
    """Where a file comes from. The digest is known when a manifest, the reference or the node's cache has it."""

    objects: Objects
    key: str
    size: int
    digest: str | None


class _AbandonedError(Exception):
    """Another file of the artifact has failed."""


class Transfer:
    """One artifact's way to a local folder.

    Attributes:
        kept: Whether the last run kept a file that lay there before.
    """

    def __init__(
        self, remotes: Mapping[str, Remote], destination: Path, cache: NodeCache | None, progress: Progress
    ) -> None:
        self._remotes = remotes
        self._destination = destination
        self._cache = cache
        self._progress = progress
        self._failed = threading.Event()
        self._downloaded: dict[str, FileEntry] = {}
        self._files: dict[str, FileEntry] = {}
        self.kept = False

    def run(self) -> dict[str, FileEntry]:
        """Copy what is missing, and return size and digest of every file.

        Raises:
            IntegrityError: A file has another digest or size than it should.
        """
        self._failed.clear()
        self._downloaded.clear()
        self.kept = False
        self._progress.begin(len(self._remotes), sum(remote.size for remote in self._remotes.values()))
        largest_first = sorted(self._remotes, key=lambda name: -self._remotes[name].size)
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            futures = {name: pool.submit(self._bring, name) for name in largest_first}
        errors = [error for future in futures.values() if (error := future.exception())]
        for error in errors:
            if not isinstance(error, _AbandonedError):
                raise error
        self._files = {name: futures[name].result() for name in sorted(futures)}
        return self._files

    def offer(self, cache: NodeCache) -> None:
        """Put what was downloaded into the node's cache."""
        for name, entry in self._downloaded.items():
            cache.offer(entry, self._destination / name)
        cache.remember(self._files)

    def _bring(self, name: str) -> FileEntry:
        try:
            started = time.monotonic()
            entry, how = self._obtain(self._remotes[name], self._destination / name)
            self._progress.done(name, entry.size, time.monotonic() - started, how)
        except BaseException:
            self._failed.set()
            raise
        if how == "downloaded":
            self._downloaded[name] = entry
        if how == "kept":
            self.kept = True
        return entry

    def _obtain(self, remote: Remote, path: Path) -> tuple[FileEntry, str]:
        self._advance(0)
        if path.is_file() and path.stat().st_size == remote.size:
            digest = file_digest(path)
            if remote.digest in {None, digest}:
                self._advance(remote.size)
                return FileEntry(size=remote.size, digest=digest), "kept"
        if remote.digest:
            entry = FileEntry(size=remote.size, digest=remote.digest)
            if self._cache and self._cache.take(entry, path, self._advance):
                return entry, "cache"
            write_verified(stream_verified(remote.objects, remote.key, entry), path, self._advance)
            return entry, "downloaded"
        digest = write_verified(self._whole(remote), path, self._advance)
        return FileEntry(size=remote.size, digest=digest), "downloaded"

    def _whole(self, remote: Remote) -> Iterator[bytes]:
        left = remote.size
        for chunk in remote.objects.stream(remote.key, remote.size):
            left -= len(chunk)
            yield chunk
        if left:
            raise IntegrityError(f"{remote.key} changed while it was read: {left} of {remote.size} bytes are missing")

    def _advance(self, size: int) -> None:
        if self._failed.is_set():
            raise _AbandonedError
        self._progress.advance(size)

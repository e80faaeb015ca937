"""Compute the digest of what lies at a URI, without keeping any of it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from relora_contract.artifacts import MANIFEST_FOLDER
from relora_contract.digests import FileEntry, folder_digest
from relora_store.blobs import stream_digest
from relora_store.errors import NotFoundError
from relora_store.filesystems import Filesystems
from relora_store.names import Content, check_name, check_names
from relora_store.objects import Objects
from relora_store.progress import Progress, Silent

READERS = 4


@dataclass(frozen=True)
class UriDigest:
    """What lies at a URI and its digest, as `ArtifactRef.digest` means it.

    Attributes:
        form: A folder of weights or of an adapter, one data file, or a manifest.
        digest: The folder digest, or that of the file's bytes.
        files: Size and digest of every file; of a single file, under its name.
    """

    form: Literal["folder", "file", "manifest"]
    digest: str
    files: Mapping[str, FileEntry]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(entry.size for entry in self.files.values())


def digest_of_uri(filesystems: Filesystems, uri: str, progress: Progress | None = None) -> UriDigest:
    """Read everything at `uri` once and return its digest.

    Raises:
        NotFoundError: Nothing lies there.
        IntegrityError: A file has a name or is of a kind that no artifact may have; nothing was read.
    """
    objects = filesystems.open(uri)
    watcher = progress or Silent()
    sizes = objects.sizes()
    if sizes:
        check_names(sizes, Content.BASE)
        files = _digest_all(objects, sizes, watcher)
        return UriDigest("folder", folder_digest(files), files)
    try:
        size = objects.size("")
    except NotFoundError as error:
        raise NotFoundError(f"{uri} is neither a file nor a folder that holds files") from error
    name = uri.rstrip("/").rpartition("/")[2]
    is_manifest = f"/{MANIFEST_FOLDER}/" in uri
    if not is_manifest:
        check_name(name, Content.DATA)
    watcher.begin(1, size)
    entry = FileEntry(size=size, digest=stream_digest(objects, "", size, watcher.advance))
    return UriDigest("manifest" if is_manifest else "file", entry.digest, {name: entry})


def _digest_all(objects: Objects, sizes: Mapping[str, int], watcher: Progress) -> dict[str, FileEntry]:
    def digest(name: str) -> FileEntry:
        return FileEntry(size=sizes[name], digest=stream_digest(objects, name, sizes[name], watcher.advance))

    watcher.begin(len(sizes), sum(sizes.values()))
    names = sorted(sizes)
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(names, pool.map(digest, names), strict=True))

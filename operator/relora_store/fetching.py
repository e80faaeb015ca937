"""Bring an artifact to a local folder: verified, checked, resumable, and not twice."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from relora_contract.artifacts import ArtifactRef, Manifest
from relora_contract.digests import FileEntry, folder_digest, sha256_digest
from relora_store.blobs import blob_key
from relora_store.contents import check_file
from relora_store.errors import IntegrityError, NotFoundError, StoreError
from relora_store.filesystems import Filesystems
from relora_store.localfiles import translated
from relora_store.manifests import parse_manifest, read_manifest_bytes, store_uri_of
from relora_store.names import Content, check_names
from relora_store.node_cache import NodeCache
from relora_store.progress import Progress, Silent
from relora_store.transfer import Remote, Transfer
from relora_store.verified import read_ledger, write_ledger


@dataclass(frozen=True)
class Fetched:
    """An artifact on the local disk.

    Attributes:
        path: The folder; of a single data file, the file.
        files: Size and digest of every file.
        manifest: The manifest, when the reference names one.
    """

    path: Path
    files: Mapping[str, FileEntry]
    manifest: Manifest | None


def fetch_artifact(
    filesystems: Filesystems,
    ref: ArtifactRef,
    destination: Path,
    content: Content,
    *,
    cache: NodeCache | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Bring an artifact to `destination`, which belongs to it alone: other files there are removed.

    What lies there already is kept when its digest is right. After success the folder remembers that it was verified;
    fetching the same artifact again asks the store for nothing.

    Args:
        filesystems: Opens URIs.
        ref: A manifest, a folder, or a single data file.
        destination: A folder; made when missing.
        content: What the artifact is, which decides what may lie in it.
        cache: The node's cache of files.
        progress: Told about files and bytes.

    Raises:
        NotFoundError: Nothing lies at the URI.
        IntegrityError: The digest does not match, or a file has a forbidden form. No file of it is left behind.
        TemporaryError: The store did not answer, or the disk is full; complete files are kept for the next attempt.
    """
    ledger = read_ledger(destination)
    if ledger and ledger.digest == ref.digest and ledger.stands(destination):
        files = {name: file.entry for name, file in ledger.files.items()}
        manifest = parse_manifest(ledger.manifest.encode(), ref) if ledger.manifest else None
        return Fetched(_place(destination, files, content), files, manifest)
    manifest_bytes = read_manifest_bytes(filesystems, ref) if ref.is_manifest else None
    manifest = parse_manifest(manifest_bytes, ref) if manifest_bytes is not None else None
    remotes = (
        _of_manifest(filesystems, ref, manifest) if manifest is not None else _of_uri(filesystems, ref, content, cache)
    )
    check_names(remotes, content)
    _remove_all_but(destination, remotes)
    transfer = Transfer(remotes, destination, cache, progress or Silent())
    try:
        files = _run_verified(transfer, ref, destination, content)
        for name in files:
            check_file(destination / name, name, content)
    except IntegrityError:
        _remove_all_but(destination, ())
        raise
    if cache:
        # A full or read-only cache must not keep a server from starting.
        with suppress(StoreError):
            transfer.offer(cache)
    write_ledger(destination, ref.digest, manifest_bytes.decode() if manifest_bytes is not None else None, files)
    return Fetched(_place(destination, files, content), files, manifest)


def _run_verified(transfer: Transfer, ref: ArtifactRef, destination: Path, content: Content) -> dict[str, FileEntry]:
    files = transfer.run()
    if ref.is_manifest or _digest_of(files, content) == ref.digest:
        return files
    if transfer.kept:
        # What lay here before may be of another version.
        _remove_all_but(destination, ())
        files = transfer.run()
    if (found := _digest_of(files, content)) != ref.digest:
        raise IntegrityError(f"{ref.uri} has digest {found}, expected is {ref.digest}")
    return files


def read_file(filesystems: Filesystems, ref: ArtifactRef, limit: int) -> bytes:
    """Return the bytes of a small data file, verified.

    Raises:
        NotFoundError: There is none.
        IntegrityError: Its digest is another, or it has more than `limit` bytes.
    """
    data = filesystems.open(ref.uri).read("", limit)
    if sha256_digest(data) != ref.digest:
        raise IntegrityError(f"{ref.uri} has digest {sha256_digest(data)}, expected is {ref.digest}")
    return data


def _of_manifest(filesystems: Filesystems, ref: ArtifactRef, manifest: Manifest) -> dict[str, Remote]:
    objects = filesystems.open(store_uri_of(ref))
    return {
        name: Remote(objects, blob_key(entry.digest), entry.size, entry.digest)
        for name, entry in manifest.files.items()
    }


def _of_uri(filesystems: Filesystems, ref: ArtifactRef, content: Content, cache: NodeCache | None) -> dict[str, Remote]:
    objects = filesystems.open(ref.uri)
    if content is Content.DATA:
        name = ref.uri.rstrip("/").rpartition("/")[2]
        return {name: Remote(objects, "", objects.size(""), ref.digest)}
    if cache and (known := cache.files_of(ref.digest)):
        return {name: Remote(objects, name, entry.size, entry.digest) for name, entry in known.items()}
    sizes = objects.sizes()
    if not sizes:
        raise NotFoundError(f"{ref.uri} holds no files")
    return {name: Remote(objects, name, size, None) for name, size in sizes.items()}


def _digest_of(files: Mapping[str, FileEntry], content: Content) -> str:
    return next(iter(files.values())).digest if content is Content.DATA else folder_digest(files)


def _place(destination: Path, files: Mapping[str, FileEntry], content: Content) -> Path:
    return destination / next(iter(files)) if content is Content.DATA else destination


def _remove_all_but(destination: Path, names: Iterable[str]) -> None:
    kept = {destination / name for name in names}
    with translated(destination):
        destination.mkdir(parents=True, exist_ok=True)
        for folder, subfolders, files in os.walk(destination, topdown=False):
            for path in (Path(folder, name) for name in [*files, *subfolders]):
                if path.is_dir() and not path.is_symlink():
                    with suppress(OSError):  # not empty
                        path.rmdir()
                elif path not in kept:
                    path.unlink()

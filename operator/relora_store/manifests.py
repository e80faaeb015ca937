"""Publish an artifact: blobs first, then the manifest that names them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from relora_contract.artifacts import (
    MANIFEST_FOLDER,
    ArtifactKind,
    ArtifactRef,
    Fingerprint,
    Manifest,
    Provenance,
    manifest_ref,
)
from relora_contract.digests import canonical_json, hex_part, sha256_digest
from relora_store.blobs import blob_key, put_blob
from relora_store.contents import check_file
from relora_store.errors import IntegrityError
from relora_store.filesystems import Filesystems
from relora_store.local_objects import LocalObjects
from relora_store.names import Content, check_names
from relora_store.store import RECORD_LIMIT_BYTES, Store, create_or_read

UPLOADS = 4


def publish_folder(
    store: Store,
    folder: Path,
    *,
    kind: ArtifactKind,
    provenance: Provenance,
    fingerprints: Sequence[Fingerprint] = (),
) -> ArtifactRef:
    """Store the files of a folder and the manifest of them, and return the manifest's reference.

    The manifest is the commit: it is written after every blob is in the store. Publishing the same folder with the
    same provenance again changes nothing and returns the same reference.

    Raises:
        IntegrityError: A file may not be part of an artifact, changed meanwhile, or its place holds other bytes.
    """
    names = sorted(LocalObjects(folder).sizes())
    content = Content.ADAPTER if kind == "Adapter" else Content.STATE
    check_names(names, content)
    for name in names:
        check_file(folder / name, name, content)
    with ThreadPoolExecutor(UPLOADS) as pool:
        entries = list(pool.map(lambda name: put_blob(store.objects, folder / name), names))
    manifest = Manifest(
        kind=kind,
        files=dict(zip(names, entries, strict=True)),
        provenance=provenance,
        fingerprints=list(fingerprints),
    )
    data = canonical_json(manifest.to_json())
    ref = manifest_ref(store.uri, sha256_digest(data))
    if create_or_read(store, _manifest_key(ref), data) != data:
        raise IntegrityError(f"{ref.uri} holds something else than the manifest of its digest; remove it")
    return ref


def publish_file(store: Store, path: Path) -> ArtifactRef:
    """Store one data file as a blob and return its reference.

    Raises:
        IntegrityError: The file changed meanwhile, or its place holds other bytes.
    """
    entry = put_blob(store.objects, path)
    return ArtifactRef(uri=f"{store.uri}/{blob_key(entry.digest)}", digest=entry.digest)


def store_uri_of(ref: ArtifactRef) -> str:
    """Return the URI of the store that a manifest's reference points into."""
    return ref.uri.rpartition(f"/{MANIFEST_FOLDER}/")[0]


def read_manifest_bytes(filesystems: Filesystems, ref: ArtifactRef) -> bytes:
    """Return the bytes of the manifest that a reference names; `parse_manifest` verifies them."""
    return filesystems.open(store_uri_of(ref)).read(_manifest_key(ref), RECORD_LIMIT_BYTES)


def read_manifest(filesystems: Filesystems, ref: ArtifactRef) -> Manifest:
    """Return the manifest of a reference, verified by its digest. Raises as `parse_manifest` does."""
    return parse_manifest(read_manifest_bytes(filesystems, ref), ref)


def parse_manifest(data: bytes, ref: ArtifactRef) -> Manifest:
    """Return the manifest in `data`.

    Raises:
        IntegrityError: The bytes have another digest than the reference, are no manifest, or a name is not allowed.
    """
    if sha256_digest(data) != ref.digest:
        raise IntegrityError(f"{ref.uri} has digest {sha256_digest(data)}, expected is {ref.digest}")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{ref.uri} is not a manifest that this version reads: {_first(error)}") from error
    check_names(manifest.files, Content.ADAPTER if manifest.kind == "Adapter" else Content.STATE)
    return manifest


def _manifest_key(ref: ArtifactRef) -> str:
    key = f"{MANIFEST_FOLDER}/{hex_part(ref.digest)}.json"
    if not ref.uri.endswith(f"/{key}"):
        raise IntegrityError(f"{ref.uri} is not the place of the manifest {ref.digest}")
    return key


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"

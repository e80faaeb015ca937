"""The S3 gateway as scenarios use it: they fill it with models and data, and read back what Jobs stored."""

import json
from pathlib import Path

import s3fs

from e2e.clusterapi import Json
from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import FileEntry, folder_digest, hex_part, sha256_digest


class Bucket:
    """Objects by their URI, read and written by another client than the project's own."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self._files = s3fs.S3FileSystem(
            key=access_key,
            secret=secret_key,
            endpoint_url=endpoint,
            config_kwargs={"s3": {"addressing_style": "path"}},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def make(self, *names: str) -> None:
        """Make buckets; those of an earlier session on the same node stay."""
        for name in names:
            if not self._files.exists(name):
                self._files.call_s3("create_bucket", Bucket=name)

    def put_folder(self, uri: str, files: dict[str, bytes]) -> ArtifactRef:
        """Write the files of a folder and return its reference, with the folder's digest."""
        for name, content in files.items():
            self._files.pipe_file(f"{uri}/{name}", content)
        entries = {name: FileEntry(size=len(content), digest=sha256_digest(content)) for name, content in files.items()}
        return ArtifactRef(uri=uri, digest=folder_digest(entries))

    def put_file(self, uri: str, content: bytes) -> ArtifactRef:
        """Write one file and return its reference, with the digest of its bytes."""
        self._files.pipe_file(uri, content)
        return ArtifactRef(uri=uri, digest=sha256_digest(content))

    def read(self, uri: str) -> bytes:
        """Return the bytes of one object."""
        content: bytes = self._files.cat_file(uri)
        return content

    def keys(self, uri: str) -> list[str]:
        """Return the keys of all objects below a URI, relative to it."""
        prefix = uri.removeprefix("s3://")
        found: list[str] = self._files.find(uri)
        return sorted(key.removeprefix(f"{prefix}/") for key in found)

    def reports(self, store_uri: str) -> dict[str, Json]:
        """Return the step reports of a store by their keys, `<request digest, hex>/<step>`."""
        keys = [key for key in self.keys(store_uri) if key.startswith("reports/") and key.endswith(".json")]
        return {
            key.removeprefix("reports/").removesuffix(".json"): json.loads(self.read(f"{store_uri}/{key}"))
            for key in keys
        }

    def manifest(self, store_uri: str, digest: str) -> Json:
        """Return the manifest of an artifact, after a look at its digest."""
        content = self.read(f"{store_uri}/manifests/sha256/{hex_part(digest)}.json")
        assert sha256_digest(content) == digest
        parsed: Json = json.loads(content)
        return parsed


def folder(path: Path) -> dict[str, bytes]:
    """Return the files below a folder by their relative names."""
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}

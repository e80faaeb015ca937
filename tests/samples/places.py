"""Real places for stores: a local folder, or a bucket of a running S3 gateway."""

from dataclasses import dataclass
from pathlib import Path

from relora_contract.request import CredentialMount
from relora_store.filesystems import Filesystems
from relora_store.objects import Objects
from relora_store.retry import Retry
from relora_store.store import Store, open_store

BUCKET = "relora-tests"


@dataclass(frozen=True)
class Gateway:
    """A running S3 gateway: its endpoint, the folder of its credentials, and a connection that tests share."""

    endpoint: str
    secret: Path
    filesystems: Filesystems


def connect(endpoint: str, secret: Path) -> Gateway:
    """Return a gateway at an endpoint."""
    mount = CredentialMount(uri_prefix="s3://", directory=str(secret), endpoint=endpoint)
    return Gateway(endpoint, secret, Filesystems([mount], environ={}, retry=Retry(attempts=2, first=0)))


@dataclass(frozen=True)
class Place:
    """An empty place for a store or for folders, and the means to damage what lies there."""

    uri: str
    filesystems: Filesystems

    @property
    def objects(self) -> Objects:
        return self.filesystems.open(self.uri)

    @property
    def store(self) -> Store:
        return open_store(self.filesystems, self.uri)

    def put(self, key: str, data: bytes) -> None:
        """Overwrite an object behind the store's back."""
        if self.uri.startswith("file://"):
            path = Path(self.uri.removeprefix("file://"), key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        else:
            bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
            self.filesystems._s3(self.uri).filesystem.call_s3(
                "put_object", Bucket=bucket, Key=f"{prefix}/{key}", Body=data
            )

    def remove(self, key: str) -> None:
        """Remove an object behind the store's back."""
        if self.uri.startswith("file://"):
            Path(self.uri.removeprefix("file://"), key).unlink()
        else:
            bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
            self.filesystems._s3(self.uri).filesystem.call_s3("delete_object", Bucket=bucket, Key=f"{prefix}/{key}")

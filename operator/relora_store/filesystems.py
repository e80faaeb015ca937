"""Opens a URI with the credentials that are meant for it."""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from relora_contract.request import CredentialMount
from relora_store.credentials import read_credentials
from relora_store.errors import ConfigurationError
from relora_store.local_objects import LocalObjects
from relora_store.objects import Objects
from relora_store.retry import Retry

if TYPE_CHECKING:
    from relora_store.s3_connection import S3Connection


class Filesystems:
    """Opens `s3://` and `file://` URIs.

    A mounted Secret is a folder with the files AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optionally,
    AWS_SESSION_TOKEN and AWS_REGION. The mount with the longest prefix of a URI is used for it. Where none fits, the
    environment's own credentials are: AWS_ACCESS_KEY_ID and its companions, or the cloud's workload identity, at
    AWS_ENDPOINT_URL when it is set.
    """

    def __init__(
        self,
        credentials: Sequence[CredentialMount] = (),
        *,
        environ: Mapping[str, str] = os.environ,
        retry: Retry | None = None,
    ) -> None:
        self._credentials = credentials
        self._environ = environ
        self._retry = retry or Retry()
        self._opened: dict[CredentialMount | None, S3Connection] = {}

    def open(self, uri: str) -> Objects:
        """Return the objects at and below `uri`. Nothing is asked of the store yet.

        Raises:
            ConfigurationError: The URI or the mounted credentials cannot be used.
        """
        scheme, _, rest = uri.partition("://")
        match scheme:
            case "file":
                return LocalObjects(_local_path(uri))
            case "s3":
                bucket, *parts = rest.rstrip("/").split("/")
                if not bucket or any(part in {"", ".", ".."} for part in parts):
                    raise ConfigurationError(f"{uri} is not s3://<bucket>/<key>")
                return self._s3(uri).objects(bucket, "/".join(parts), self._retry)
            case _:
                raise ConfigurationError(f"{uri}: only s3:// and file:// are read")

    def _s3(self, uri: str) -> "S3Connection":
        mount = longest_match(self._credentials, uri)
        if mount not in self._opened:
            self._opened[mount] = self._connect(mount)
        return self._opened[mount]

    def _connect(self, mount: CredentialMount | None) -> "S3Connection":
        # s3fs takes over a second to import, which steps that only read a folder or a stored report need not wait for.
        try:
            from relora_store.s3_connection import S3Connection  # noqa: PLC0415 - see above
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"s3:// needs the package {error.name}: install relora[store]") from error

        return S3Connection(partial(read_credentials, mount, self._environ))


def longest_match(credentials: Sequence[CredentialMount], uri: str) -> CredentialMount | None:
    """Return the mount with the longest prefix of `uri`, or None. A prefix ends where a part of the URI ends."""

    def fits(prefix: str) -> bool:
        return uri == prefix or uri.startswith(prefix.rstrip("/") + "/")

    fitting = [mount for mount in credentials if fits(mount.uri_prefix)]
    return max(fitting, key=lambda mount: len(mount.uri_prefix.rstrip("/")), default=None)


def _local_path(uri: str) -> Path:
    parsed = urllib.parse.urlsplit(uri)
    path = urllib.parse.unquote(parsed.path)
    if parsed.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise ConfigurationError(f"{uri} is not file:///<absolute path>")
    return Path(path)

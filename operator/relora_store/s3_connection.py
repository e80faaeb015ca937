"""A connection to an S3 endpoint with the credentials of the moment."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

import s3fs
from botocore.exceptions import ClientError

from relora_store.credentials import Credentials
from relora_store.retry import Retry
from relora_store.s3_objects import S3Objects

CONNECT_SECONDS = 5
READ_SECONDS = 60
CONNECTIONS = 32
_PERHAPS_EXPIRED = {400, 401, 403}
"""Statuses of answers to credentials that are not valid any more; to a HEAD it is a 400 without a code."""

Answer = TypeVar("Answer")


@dataclass
class S3Connection:
    """An open connection, and the threads that read ahead and send parts through it.

    A Secret may be replaced while a step runs for hours, and a session token runs out. Where credentials are refused
    they are read again, and if they are others now, the call is made with those.

    Addressing is path-style. Nothing is sent before the first call.

    Attributes:
        read: Returns the credentials of the moment.
        pool: The threads.
        filesystem: The library's, with the credentials that were read last.
    """

    read: Callable[[], Credentials]
    pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(CONNECTIONS, "s3"))
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.credentials = self.read()
        self.filesystem = _filesystem(self.credentials)

    def objects(self, bucket: str, prefix: str, retry: Retry) -> S3Objects:
        """Return the objects of a bucket below a prefix."""
        return S3Objects(self, self.pool, bucket, prefix, retry)

    def call_s3(self, method: str, **arguments: object) -> Mapping[str, object]:
        """Make one call of the S3 API, by its name in botocore."""
        return self._asked(lambda filesystem: filesystem.call_s3(method, **arguments))

    def cat_file(self, path: str, *, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of one object."""
        found: bytes = self._asked(lambda filesystem: filesystem.cat_file(path, start=start, end=end))
        return found

    def _asked(self, ask: Callable[[s3fs.S3FileSystem], Answer]) -> Answer:
        used = self.filesystem
        try:
            return ask(used)
        except Exception as error:
            if not _perhaps_expired(error) or not self._renew(used):
                raise
        return ask(self.filesystem)

    def _renew(self, used: s3fs.S3FileSystem) -> bool:
        """Tell whether there are other credentials now than those that were `used`."""
        with self._lock:
            if self.filesystem is used and (found := self.read()) != self.credentials:
                self.credentials, self.filesystem = found, _filesystem(found)
            return self.filesystem is not used


def _perhaps_expired(error: Exception) -> bool:
    cause = error if isinstance(error, ClientError) else error.__cause__
    return (
        isinstance(cause, ClientError)
        and cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _PERHAPS_EXPIRED
    )


def _filesystem(credentials: Credentials) -> s3fs.S3FileSystem:
    filesystem = s3fs.S3FileSystem(
        key=credentials.key,
        secret=credentials.secret,
        token=credentials.token,
        endpoint_url=credentials.endpoint,
        client_kwargs={"region_name": credentials.region},
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "s3": {"addressing_style": "path"},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    filesystem.retries = 1
    return filesystem

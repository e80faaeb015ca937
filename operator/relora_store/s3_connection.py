"""A connection to an S3 endpoint with one set of credentials."""

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import s3fs

from relora_store.retry import Retry
from relora_store.s3_objects import S3Objects

CONNECT_SECONDS = 5
READ_SECONDS = 60
CONNECTIONS = 32


@dataclass(frozen=True)
class S3Connection:
    """An open connection, and the threads that read ahead and send parts through it."""

    filesystem: s3fs.S3FileSystem
    pool: Executor

    def objects(self, bucket: str, prefix: str, retry: Retry) -> S3Objects:
        """Return the objects of a bucket below a prefix."""
        return S3Objects(self.filesystem, self.pool, bucket, prefix, retry)


def connect(
    *, key: str | None, secret: str | None, token: str | None, endpoint: str | None, region: str
) -> S3Connection:
    """Return a connection with path-style addressing. Nothing is sent yet.

    Args:
        key: Access key; None leaves the search for credentials to the library: environment, then workload identity.
        secret: Its secret.
        token: Its session token.
        endpoint: URL of the endpoint; None is AWS's.
        region: Region that requests are signed for.
    """
    filesystem = s3fs.S3FileSystem(
        key=key,
        secret=secret,
        token=token,
        endpoint_url=endpoint,
        client_kwargs={"region_name": region},
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
    return S3Connection(filesystem, ThreadPoolExecutor(CONNECTIONS, "s3"))

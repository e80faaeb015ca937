"""An S3 bucket as a store: conditional writes, ranged reads, one policy of retries.

s3fs supplies the connection, its threads and the calls of the S3 API. Its own retries are off: ours have jitter and
cover the reading of bodies too.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as EndpointError,
)
from botocore.parsers import ResponseParserError

from relora_contract.digests import hex_part, sha256_digest
from relora_store.errors import (
    ConfigurationError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    StoreError,
    TemporaryError,
)
from relora_store.localfiles import translated
from relora_store.objects import AlreadyExistsError
from relora_store.retry import Retry

RANGE_BYTES = 8 * 1024 * 1024
READ_AHEAD = 3
"""Ranges of one object in flight; memory per open stream is at most one more."""
PART_BYTES = 16 * 1024 * 1024
MOST_PARTS = 9_000
"""S3 allows 10,000."""
UPLOADS = 3
UPLOAD_TRIES = 3

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_UNREACHABLE = (
    EndpointError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    aiohttp.ClientError,  # a body that is cut reaches us as aiohttp tells it
    OSError,
    TimeoutError,
)
_DENIED = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",  # how Versity's gateway says InvalidAccessKeyId, with a status of 404
}
_MISSING = {"NoSuchKey", "NoSuchBucket", "404"}
"""By the code, not by the status: an unknown user must never read as an absent report."""
_TRY_AGAIN = {
    "BadDigest",
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
"""What a browser shows instead of saving it."""
_TRY_AGAIN_STATUS = {408, 409, 429}
_SERVER_ERROR = 500


class S3Calls(Protocol):
    """What we use of `s3fs.S3FileSystem`."""

    def call_s3(self, method: str, **arguments: object) -> Mapping[str, object]:
        """Make one call of the S3 API, by its name in botocore."""

    def cat_file(self, path: str, *, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of one object."""


class _BeyondEndError(Exception):
    """The range starts after the object's last byte."""


class _NoSuchUploadError(Exception):
    """The store knows no such upload: it was completed before, or is to be begun anew."""


class S3Objects:
    """The objects of one bucket below one prefix.

    Args:
        filesystem: Makes the calls; safe to use from several threads.
        pool: Runs several calls for one object at a time.
        bucket: The bucket.
        prefix: What every key is preceded by; empty for the whole bucket.
        retry: Tries calls again.
    """

    def __init__(self, filesystem: S3Calls, pool: Executor, bucket: str, prefix: str, retry: Retry) -> None:
        self._filesystem = filesystem
        self._pool = pool
        self._bucket = bucket
        self._prefix = prefix
        self._retry = retry

    def size(self, key: str) -> int:
        """Return the size of one object in bytes."""
        if not self._key(key):
            raise NotFoundError(f"s3://{self._bucket} is a bucket, not an object")
        size = self._call("head_object", key)["ContentLength"]
        if not isinstance(size, int):
            raise TemporaryError(f"{self._uri(key)}: the store told no size")
        return size

    def sizes(self) -> dict[str, int]:
        """Return the size of every object below the prefix."""
        prefix = f"{self._prefix}/" if self._prefix else ""
        found: dict[str, int] = {}
        more: dict[str, object] = {}
        while True:
            page = self._bucket_call("list_objects_v2", Prefix=prefix, **more)
            contents = page.get("Contents", [])
            if not isinstance(contents, list):
                raise TemporaryError(f"{self._uri('')}: the store's list is malformed")
            # A key that ends with a slash is how consoles draw an empty folder.
            found |= {item["Key"].removeprefix(prefix): item["Size"] for item in contents if item["Key"][-1] != "/"}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, key: str, limit: int) -> bytes:
        """Return one small object."""
        try:
            data = self._range(key, 0, limit + 1)
        except _BeyondEndError:
            return b""
        if len(data) > limit:
            raise IntegrityError(f"{self._uri(key)} is larger than the {limit} bytes that such an object may have")
        return data

    def stream(self, key: str, size: int) -> Iterator[bytes]:
        """Yield the first `size` bytes of one object, the next ranges already under way."""
        starts = iter(range(0, size, RANGE_BYTES))
        under_way: deque[Future[bytes]] = deque()

        def begin_next() -> None:
            for start in starts:
                under_way.append(self._pool.submit(self._range, key, start, min(start + RANGE_BYTES, size)))
                return

        try:
            for _ in range(READ_AHEAD):
                begin_next()
            while under_way:
                chunk = under_way.popleft().result()
                begin_next()
                yield chunk
        except _BeyondEndError:
            return
        finally:
            # This may run in the garbage collector, in any thread: it must not wait for anything.
            for future in under_way:
                future.cancel()

    def create(self, key: str, data: bytes) -> None:
        """Write one object if the key is free; the store compares the bytes with their SHA-256."""
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        kind = _CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")
        self._call("put_object", key, Body=data, IfNoneMatch="*", ChecksumSHA256=checksum, ContentType=kind)

    def create_from_file(self, key: str, path: Path, digest: str) -> None:
        """Write one object with the content of a file if the key is free; in parts when it is large."""
        with translated(path), path.open("rb") as file:
            size = path.stat().st_size
            if size > PART_BYTES:
                self._upload_in_parts(key, file, size, digest)
                return
            data = file.read(PART_BYTES + 1)
        if sha256_digest(data) != digest:
            raise IntegrityError(f"{path} changed while it was published")
        self.create(key, data)

    def remove(self, key: str) -> None:
        """Remove one object; where there is none, do nothing."""
        self._call("delete_object", key)

    def _upload_in_parts(self, key: str, file: IO[bytes], size: int, digest: str) -> None:
        for _ in range(UPLOAD_TRIES):
            try:
                self._upload_once(key, file, size, digest)
            except _NoSuchUploadError:
                # A completion whose answer was lost is told to be of no upload when it is asked for again.
                if self._exists(key):
                    raise AlreadyExistsError(self._uri(key)) from None
                file.seek(0)
            else:
                return
        raise TemporaryError(f"{self._uri(key)}: the store forgot {UPLOAD_TRIES} uploads before they were complete")

    def _exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFoundError:
            return False
        return True

    def _upload_once(self, key: str, file: IO[bytes], size: int, digest: str) -> None:
        upload = self._call("create_multipart_upload", key)["UploadId"]
        try:
            parts = self._upload_parts(key, file, max(PART_BYTES, -(-size // MOST_PARTS)), upload, digest)
            self._call(
                "complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            with suppress(StoreError, AlreadyExistsError, _NoSuchUploadError):
                self._call("abort_multipart_upload", key, UploadId=upload)
            raise

    def _upload_parts(
        self, key: str, file: IO[bytes], part_bytes: int, upload: object, digest: str
    ) -> list[dict[str, object]]:
        hasher = hashlib.sha256()
        parts: list[dict[str, object]] = []

        def send(number: int, data: bytes) -> dict[str, object]:
            reply = self._call("upload_part", key, UploadId=upload, PartNumber=number, Body=data)
            return {"PartNumber": number, "ETag": reply["ETag"]}

        under_way: deque[Future[dict[str, object]]] = deque()
        try:
            while data := file.read(part_bytes):
                hasher.update(data)
                under_way.append(self._pool.submit(send, len(parts) + len(under_way) + 1, data))
                if len(under_way) > UPLOADS:
                    parts.append(under_way.popleft().result())
            parts += [future.result() for future in under_way]
        finally:
            # An upload can be abandoned only when nothing is being sent to it any more.
            wait(under_way)
        if hasher.hexdigest() != hex_part(digest):
            raise IntegrityError(f"{file.name} changed while it was published")
        return parts

    def _range(self, key: str, start: int, end: int) -> bytes:
        def once() -> bytes:
            try:
                return self._filesystem.cat_file(f"{self._bucket}/{self._key(key)}", start=start, end=end)
            except Exception as error:
                raise _translated(error, self._uri(key)) from error

        return self._retry(once)

    def _call(self, method: str, key: str, **arguments: object) -> Mapping[str, object]:
        return self._bucket_call(method, Key=self._key(key), **arguments)

    def _bucket_call(self, method: str, **arguments: object) -> Mapping[str, object]:
        def once() -> Mapping[str, object]:
            try:
                return self._filesystem.call_s3(method, Bucket=self._bucket, **arguments)
            except Exception as error:
                uri = f"s3://{self._bucket}/{arguments.get('Key', self._prefix)}"
                raise _translated(error, uri) from error

        return self._retry(once)

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._key(key)}"


def _translated(error: Exception, uri: str) -> Exception:
    """Return our error for one of s3fs, botocore or the network."""
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if isinstance(cause, ClientError):
        return _translated_reply(cause, uri)
    if isinstance(cause, _NO_CREDENTIALS):
        return DeniedError(f"{uri}: no credentials; mount a Secret for this prefix or set AWS_ACCESS_KEY_ID")
    if isinstance(cause, _UNREACHABLE):
        return TemporaryError(f"{uri}: the store did not answer ({type(cause).__name__})")
    if isinstance(cause, BotoCoreError | ValueError):
        return ConfigurationError(f"{uri} cannot be asked for: {cause}")
    return error


_TOLD_BY_STATUS: Mapping[int, type[Exception]] = {412: AlreadyExistsError, 416: _BeyondEndError}


def _translated_reply(error: ClientError, uri: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _TRY_AGAIN or status in _TRY_AGAIN_STATUS or status >= _SERVER_ERROR:
        return TemporaryError(f"{uri}: the store asks to try again ({code})")
    if code in _DENIED or status in {401, 403}:
        return DeniedError(f"{uri}: the store refuses the credentials ({code}); check the Secret's keys and its rights")
    if code in _MISSING:
        return NotFoundError(f"{uri} does not exist" + (" (no such bucket)" if code == "NoSuchBucket" else ""))
    told: type[Exception] | None = _NoSuchUploadError if code == "NoSuchUpload" else _TOLD_BY_STATUS.get(status)
    if told is not None:
        return told(uri)
    return ConfigurationError(f"{uri}: the store refuses the request ({code})")

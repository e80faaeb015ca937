"""The six calls of a store, on a local folder and on a real S3 gateway."""

import hashlib
import os
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import pytest
from botocore.exceptions import ClientError, IncompleteReadError

from relora_store import local_objects, s3_objects
from relora_store.errors import DeniedError, IntegrityError, NotFoundError, TemporaryError
from relora_store.filesystems import Filesystems
from relora_store.objects import AlreadyExistsError
from relora_store.retry import Retry
from samples.places import BUCKET, Gateway, Place


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_objects, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(s3_objects, "RANGE_BYTES", 1000)


def test_an_object_is_created_once_and_stays_as_it_is(place: Place) -> None:
    place.objects.create("a/b", b"first")
    with pytest.raises(AlreadyExistsError):
        place.objects.create("a/b", b"second")
    assert place.objects.read("a/b", 100) == b"first"
    assert place.objects.size("a/b") == 5


def test_an_empty_object_is_an_object(place: Place) -> None:
    place.objects.create("empty", b"")
    assert place.objects.read("empty", 0) == b""
    assert list(place.objects.stream("empty", 0)) == []
    assert place.objects.sizes() == {"empty": 0}


def test_reading_more_than_the_limit_is_refused(place: Place) -> None:
    place.objects.create("a", b"12345")
    assert place.objects.read("a", 5) == b"12345"
    with pytest.raises(IntegrityError, match="larger than the 4 bytes"):
        place.objects.read("a", 4)


def test_what_is_missing_is_not_found(place: Place) -> None:
    assert place.objects.sizes() == {}
    for ask in (
        place.objects.size,
        lambda key: place.objects.read(key, 10),
        lambda key: list(place.objects.stream(key, 10)),
    ):
        with pytest.raises(NotFoundError):
            ask("nothing")
    with pytest.raises(NotFoundError):
        place.objects.size("")


def test_the_root_may_be_an_object_itself(place: Place) -> None:
    place.objects.create("data.jsonl", b"12345")
    single = place.filesystems.open(f"{place.uri}/data.jsonl")
    assert single.size("") == 5
    assert single.read("", 10) == b"12345"
    assert b"".join(single.stream("", 5)) == b"12345"


def test_sizes_lists_folders_deeply_and_neighbours_not_at_all(place: Place) -> None:
    place.objects.create("x/a", b"1")
    place.objects.create("x/y/b", b"22")
    place.objects.create("xx/c", b"333")
    assert place.filesystems.open(f"{place.uri}/x").sizes() == {"a": 1, "y/b": 2}


def test_streams_arrive_in_order_and_in_pieces(place: Place) -> None:
    data = os.urandom(9_500)
    place.objects.create("big", data)
    pieces = list(place.objects.stream("big", len(data)))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) == 1000
    assert b"".join(place.objects.stream("big", 1_500)) == data[:1_500]


def test_a_stream_of_a_shorter_object_ends_early(place: Place) -> None:
    place.objects.create("short", b"x" * 2000)
    assert b"".join(place.objects.stream("short", 7_000)) == b"x" * 2000


def test_a_stream_may_be_left_early(place: Place) -> None:
    place.objects.create("big", b"x" * 9_000)
    stream = place.objects.stream("big", 9_000)
    assert len(next(iter(stream))) == 1000


class Stuck:
    """A connection on which only the first range ever arrives."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def call_s3(self, method: str, **_: object) -> dict[str, object]:
        raise AssertionError(method)

    def cat_file(self, path: str, *, start: int, end: int) -> bytes:
        if start:
            self.release.wait()
        return bytes(end - start)


def test_dropping_a_stream_waits_for_nothing() -> None:
    # The garbage collector may drop it while the interpreter holds a lock that threads need in order to end.
    stuck = Stuck()
    with ThreadPoolExecutor(4) as pool:
        stream = s3_objects.S3Objects(stuck, pool, "bucket", "", Retry()).stream("key", 9_000)
        assert isinstance(stream, Generator)
        next(stream)
        dropper = threading.Thread(target=stream.close)
        dropper.start()
        dropper.join(timeout=30)
        dropped = not dropper.is_alive()
        stuck.release.set()
    assert dropped


@pytest.mark.parametrize("size", [0, 10, 1000])
def test_a_file_becomes_an_object(place: Place, tmp_path: Path, size: int) -> None:
    path, digest = _random_file(tmp_path, size)
    place.objects.create_from_file("blob", path, digest)
    assert place.objects.read("blob", size) == path.read_bytes()
    with pytest.raises(AlreadyExistsError):
        place.objects.create_from_file("blob", path, digest)


def test_a_large_file_is_sent_in_parts(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_objects, "PART_BYTES", 5 * 1024 * 1024)  # the least that S3 allows
    path, digest = _random_file(tmp_path, 22 * 1024 * 1024 + 3)
    place.objects.create_from_file("blob", path, digest)
    assert hashlib.sha256(place.objects.read("blob", 10**8)).hexdigest() == digest.removeprefix("sha256:")
    with pytest.raises(AlreadyExistsError):
        place.objects.create_from_file("blob", path, digest)


@pytest.mark.parametrize("size", [10, 6 * 1024 * 1024])
def test_a_file_that_changed_is_not_stored(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(s3_objects, "PART_BYTES", 5 * 1024 * 1024)
    path, _ = _random_file(tmp_path, size)
    with pytest.raises(IntegrityError, match="changed while it was published"):
        place.objects.create_from_file("blob", path, "sha256:" + "0" * 64)
    assert place.objects.sizes() == {}


@pytest.mark.integration
def test_an_abandoned_upload_leaves_no_parts(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_objects, "PART_BYTES", 5 * 1024 * 1024)
    path, _ = _random_file(tmp_path, 6 * 1024 * 1024)
    filesystems = gateway.filesystems
    uri = f"s3://{BUCKET}/abandoned"
    with pytest.raises(IntegrityError):
        filesystems.open(uri).create_from_file("blob", path, "sha256:" + "0" * 64)
    uploads = filesystems._s3(uri).filesystem.call_s3("list_multipart_uploads", Bucket=BUCKET, Prefix="abandoned")
    assert not uploads.get("Uploads")


@pytest.mark.integration
def test_an_unknown_access_key_is_denied(gateway: Gateway) -> None:
    environment = {
        "AWS_ENDPOINT_URL": gateway.endpoint,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "not-the-secret",
    }
    with pytest.raises(DeniedError, match="refuses the credentials"):
        Filesystems(environ=environment).open(f"s3://{BUCKET}/x").read("a", 10)


@pytest.mark.integration
def test_wrong_credentials_are_denied_and_not_shown(gateway: Gateway) -> None:
    environment = {
        "AWS_ENDPOINT_URL": gateway.endpoint,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "not-the-secret",
    }
    objects = Filesystems(environ=environment).open(f"s3://{BUCKET}/x")
    for ask in (objects.sizes, lambda: objects.size("a"), lambda: objects.create("a", b"")):
        with pytest.raises(DeniedError, match="check the Secret") as caught:
            ask()
        assert "not-the-secret" not in str(caught.value)


@pytest.mark.integration
def test_a_missing_bucket_is_named(gateway: Gateway) -> None:
    objects = gateway.filesystems.open("s3://no-such-bucket/x")
    with pytest.raises(NotFoundError, match="no such bucket"):
        objects.sizes()


class Scripted:
    """Calls of the S3 API that end as they are told to, and then as if all went well.

    Args:
        failures: By method, the errors of its first calls.
        sizes: What the bucket holds.
    """

    def __init__(self, failures: dict[str, list[Exception]], sizes: dict[str, int] | None = None) -> None:
        self.failures = failures
        self.sizes = sizes or {}
        self.calls: list[str] = []

    def _call(self, method: str) -> None:
        self.calls.append(method)
        if waiting := self.failures.get(method):
            raise waiting.pop(0)

    def call_s3(self, method: str, **arguments: object) -> dict[str, object]:
        self._call(method)
        if method == "head_object":
            if str(arguments["Key"]) not in self.sizes:
                raise answer("404", 404)
            return {"ContentLength": self.sizes[str(arguments["Key"])]}
        return {"UploadId": "u", "ETag": "e"}

    def cat_file(self, path: str, *, start: int, end: int) -> bytes:
        self._call("cat_file")
        return path[start:end].encode()


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "x")


def scripted(calls: Scripted, pool: ThreadPoolExecutor) -> s3_objects.S3Objects:
    return s3_objects.S3Objects(calls, pool, "bucket", "", Retry(attempts=3, first=0))


@pytest.mark.parametrize(
    "cut",
    [aiohttp.ClientPayloadError("not enough data"), IncompleteReadError(actual_bytes=1, expected_bytes=2)],
    ids=["aiohttp", "botocore"],
)
def test_a_body_that_is_cut_is_read_again(cut: Exception) -> None:
    calls = Scripted({"cat_file": [cut]})
    with ThreadPoolExecutor(2) as pool:
        assert b"".join(scripted(calls, pool).stream("key", 6)) == b"bucket"
    assert calls.calls == ["cat_file", "cat_file"]


def test_a_completion_whose_answer_was_lost_is_told_as_an_object_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_objects, "PART_BYTES", 10)
    path, digest = _random_file(tmp_path, 25)
    lost: list[Exception] = [ConnectionResetError(), answer("NoSuchUpload", 404)]
    calls = Scripted({"complete_multipart_upload": lost}, {"key": 25})
    with ThreadPoolExecutor(2) as pool, pytest.raises(AlreadyExistsError):
        scripted(calls, pool).create_from_file("key", path, digest)


@pytest.mark.parametrize("forgotten", [1, 3])
def test_an_upload_that_the_store_forgot_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: int
) -> None:
    monkeypatch.setattr(s3_objects, "PART_BYTES", 10)
    path, digest = _random_file(tmp_path, 25)
    failures: list[Exception] = [answer("NoSuchUpload", 404) for _ in range(forgotten)]
    calls = Scripted({"complete_multipart_upload": failures})
    with (
        ThreadPoolExecutor(2) as pool,
        nullcontext() if forgotten < s3_objects.UPLOAD_TRIES else pytest.raises(TemporaryError, match="forgot 3"),
    ):
        scripted(calls, pool).create_from_file("key", path, digest)
    assert calls.calls.count("upload_part") == 3 * min(forgotten + 1, s3_objects.UPLOAD_TRIES)


def test_a_store_that_does_not_answer_is_temporary() -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    filesystems = Filesystems(environ=environment, retry=Retry(attempts=2, first=0))
    with pytest.raises(TemporaryError, match="did not answer"):
        filesystems.open("s3://bucket/x").sizes()


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    objects = Filesystems(environ={}).open(f"file://{root}")
    for ask in (objects.sizes, lambda: objects.size("link"), lambda: objects.read("link", 10)):
        with pytest.raises(IntegrityError, match="symbolic link"):
            ask()


def test_named_pipes_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    objects = Filesystems(environ={}).open(f"file://{tmp_path}")
    for ask in (objects.sizes, lambda: objects.read("pipe", 10)):
        with pytest.raises(IntegrityError, match="neither a file nor a folder"):
            ask()


def _random_file(folder: Path, size: int) -> tuple[Path, str]:
    path = folder / "file"
    path.write_bytes(os.urandom(size))
    return path, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

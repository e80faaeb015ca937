"""Which credentials a URI gets, and which URIs are opened at all."""

import traceback
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from relora_contract.request import CredentialMount
from relora_store import s3_connection
from relora_store.credentials import Credentials
from relora_store.errors import ConfigurationError, StoreError
from relora_store.filesystems import Filesystems, longest_match


def mount(prefix: str, directory: str = "/x") -> CredentialMount:
    return CredentialMount(uri_prefix=prefix, directory=directory)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://models/a", "s3://models/"),
        ("s3://models/a/b/c", "s3://models/a/b"),
        ("s3://models/a/bc", "s3://models/"),
        ("s3://models", None),
        ("s3://models-private/a", None),
        ("s3://other/a", "s3://other"),
        ("s3://other", "s3://other"),
        ("s3://others/a", None),
    ],
)
def test_the_longest_prefix_that_ends_with_a_part_wins(uri: str, expected: str | None) -> None:
    mounts = [mount("s3://models/"), mount("s3://models/a/b"), mount("s3://other")]
    found = longest_match(mounts, uri)
    assert (found.uri_prefix if found else None) == expected


def test_a_mounted_secret_is_read_whole(tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key\n",
        "AWS_SECRET_ACCESS_KEY": " secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_REGION": "eu-central-1",
    }.items():
        (tmp_path / name).write_text(value)
    credentials = CredentialMount(uri_prefix="s3://b", directory=str(tmp_path), endpoint="https://s3.example.org")
    filesystems = Filesystems([credentials], environ={"AWS_ACCESS_KEY_ID": "other"})
    opened = filesystems._s3("s3://b/x").filesystem
    assert (opened.key, opened.secret, opened.token) == ("key", "secret", "token")
    assert opened.endpoint_url == "https://s3.example.org"
    assert opened.client_kwargs == {"region_name": "eu-central-1"}
    assert opened.config_kwargs["s3"] == {"addressing_style": "path"}
    assert filesystems._s3("s3://b/y").filesystem is opened


class Bucket:
    """Takes one session token and refuses every other one.

    Attributes:
        valid: The token.
        status: Of the answer to the others.
        opened: Tokens with which connections were opened.
    """

    def __init__(self, status: int) -> None:
        self.valid = "old"
        self.status = status
        self.opened: list[str | None] = []

    def open(self, credentials: Credentials) -> Any:  # noqa: ANN401 - the two methods that are called
        self.opened.append(credentials.token)
        return SimpleNamespace(call_s3=partial(self._answer, credentials), cat_file=partial(self._answer, credentials))

    def _answer(self, credentials: Credentials, *_: object, **__: object) -> object:
        if credentials.token == self.valid:
            return b"content"
        answer: Any = {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": self.status}}
        raise PermissionError from ClientError(answer, "GetObject")


@pytest.mark.parametrize("status", [400, 403])
def test_credentials_that_were_replaced_meanwhile_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "old"}.items():
        (tmp_path / name).write_text(value)
    bucket = Bucket(status)
    monkeypatch.setattr(s3_connection, "_filesystem", bucket.open)
    objects = Filesystems([mount("s3://b", str(tmp_path))]).open("s3://b/x")
    assert objects.read("a", 100) == b"content"

    bucket.valid = "new"
    with pytest.raises(StoreError):
        objects.read("a", 100)
    assert bucket.opened == ["old"], "the Secret is as it was"

    (tmp_path / "AWS_SESSION_TOKEN").write_text("new")
    assert objects.read("a", 100) == b"content"
    assert bucket.opened == ["old", "new"]


def test_without_a_mount_the_environment_counts() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": "http://s3.team",
        "AWS_REGION": "here",
    }
    opened = Filesystems(environ=environ)._s3("s3://b/x").filesystem
    assert (opened.key, opened.secret, opened.token) == ("key", "secret", None)
    assert opened.endpoint_url == "http://s3.team"
    assert opened.client_kwargs == {"region_name": "here"}


def test_an_incomplete_secret_is_named_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("a-key")
    with pytest.raises(ConfigurationError, match="has no AWS_SECRET_ACCESS_KEY") as caught:
        Filesystems([mount("s3://b", str(tmp_path))]).open("s3://b/x")
    assert "a-key" not in "".join(traceback.format_exception(caught.value))


def test_an_endpoint_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="endpoint") as caught:
        Filesystems(environ={"AWS_ENDPOINT_URL": "http://user:pass@s3"}).open("s3://b/x")
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.org/x",
        "/etc/passwd",
        "s3://",
        "s3:///x",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/./a",
        "file://host/x",
        "file://relative",
        "file:///a%00b",
        "hf://org/repo",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        Filesystems(environ={}).open(uri)


def test_a_file_uri_may_have_escapes(tmp_path: Path) -> None:
    (tmp_path / "my data").write_text("x")
    assert Filesystems(environ={}).open(f"file://{tmp_path}/my%20data").size("") == 1

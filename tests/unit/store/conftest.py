"""One store per test, as a local folder and as a bucket of a real S3 gateway."""

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devcluster.binaries import find_programs
from devcluster.programs import Target
from devcluster.pytest_progress import reporter
from relora_store.filesystems import Filesystems
from samples.places import BUCKET, Gateway, Place, connect


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Versity's S3 gateway over a temporary folder."""
    folder = tmp_path_factory.mktemp("gateway")
    secret = tmp_path_factory.mktemp("secret")
    (secret / "AWS_ACCESS_KEY_ID").write_text("tests\n")
    (secret / "AWS_SECRET_ACCESS_KEY").write_text("tests-secret\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    programs = find_programs(Target.NODE, reporter(request.config))
    command = [str(programs["s3gateway"]), address, str(folder)]
    environment = {**os.environ, "ROOT_ACCESS_KEY": "tests", "ROOT_SECRET_KEY": "tests-secret"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            host, _, port = address.partition(":")
            _wait_for(host, int(port), process)
            running = connect(f"http://{address}", secret)
            uri = f"s3://{BUCKET}"
            running.filesystems._s3(uri).filesystem.call_s3("create_bucket", Bucket=BUCKET)
            yield running
        finally:
            process.terminate()


def _wait_for(host: str, port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"the S3 gateway did not start (exit code {process.poll()})")


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.integration)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place, below a local folder and below a bucket."""
    if request.param == "file":
        root = tmp_path / "store"
        root.mkdir()
        return Place(f"file://{root}", Filesystems(environ={}))
    running: Gateway = request.getfixturevalue("gateway")
    return Place(f"s3://{BUCKET}/{uuid.uuid4().hex}", running.filesystems)


@pytest.fixture
def local_place(tmp_path: Path) -> Place:
    """An empty local place, for what does not depend on the kind of store."""
    root = tmp_path / "store"
    root.mkdir()
    return Place(f"file://{root}", Filesystems(environ={}))

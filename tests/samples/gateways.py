"""A real S3 gateway over a temporary folder."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from devcluster.binaries import find_programs
from devcluster.programs import Target
from devcluster.progress import Report
from samples.places import BUCKET, Gateway, connect


@contextmanager
def running_gateway(tmp_path_factory: pytest.TempPathFactory, report: Report) -> Iterator[Gateway]:
    """Run Versity's S3 gateway with an empty bucket."""
    folder = tmp_path_factory.mktemp("gateway")
    secret = tmp_path_factory.mktemp("secret")
    (secret / "AWS_ACCESS_KEY_ID").write_text("tests\n")
    (secret / "AWS_SECRET_ACCESS_KEY").write_text("tests-secret\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    programs = find_programs(Target.NODE, report)
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

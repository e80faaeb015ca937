"""One store per test, as a local folder and as a bucket of a real S3 gateway."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.pytest_progress import reporter
from relora_store.filesystems import Filesystems
from samples.gateways import running_gateway
from samples.places import BUCKET, Gateway, Place


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Versity's S3 gateway over a temporary folder."""
    with running_gateway(tmp_path_factory, reporter(request.config)) as running:
        yield running


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

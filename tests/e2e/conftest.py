"""A whole node for the end-to-end tests, one for the session."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.check import check_node
from devcluster.errors import DevclusterError
from devcluster.images import ImageStore
from devcluster.node import Node
from devcluster.paths import default_state
from devcluster.pytest_progress import reporter


@pytest.fixture(scope="session")
def node_cluster(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with its registry and S3 gateway; ``RELORA_DEVCLUSTER`` names the folder of one that runs already."""
    report = reporter(request.config)
    named = os.environ.get("RELORA_DEVCLUSTER")
    if named:
        node = Node(Path(named), report)
        if not node.running():
            pytest.fail(f"RELORA_DEVCLUSTER={named}: no node runs there")
        yield node
        return
    try:
        check_node()
    except DevclusterError as reason:
        pytest.skip(str(reason))
    # The usual folder has the images that the demo and earlier runs pushed; one that is in use is left alone.
    usual = Node(default_state(node=True), report)
    with Node(None, report) if usual.running() else usual as node:
        yield node


@pytest.fixture(scope="session")
def image_store(request: pytest.FixtureRequest) -> ImageStore:
    """Where images are built."""
    try:
        return ImageStore(reporter(request.config))
    except DevclusterError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def team(node_cluster: Node) -> Iterator[str]:
    """A namespace of the test's own, in which the restricted Pod Security Standard is enforced."""
    name = f"team-{uuid.uuid4().hex[:8]}"
    node_cluster.kubectl("create", "namespace", name)
    node_cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    node_cluster.kubectl("delete", "namespace", name, "--wait=false")

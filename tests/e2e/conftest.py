"""A whole node for the end-to-end tests, one for the session."""

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from devcluster.check import check_node
from devcluster.errors import DevclusterError
from devcluster.images import ImageStore
from devcluster.node import Node
from devcluster.paths import default_state
from devcluster.projectimages import ProjectImages, project_images
from devcluster.pytest_progress import reporter
from e2e import manifests, operatorinstall, shelf
from e2e.bucket import Bucket
from e2e.chronicle import Chronicle
from e2e.clusterapi import ClusterApi
from e2e.operatorpods import OperatorPods
from e2e.sidebyside import MARK, SideBySide, selected
from e2e.world import Credentials, World

REPOSITORY = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest, node_cluster: Node, image_store: ImageStore) -> ProjectImages:
    """The project's images of this checkout, in the node's registry."""
    return project_images(image_store, REPOSITORY, node_cluster.endpoints().registry, reporter(request.config))


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, node_cluster: Node, images: ProjectImages) -> Iterator[World]:
    """The operator, installed, and a store with all that the scenarios point to."""
    endpoints = node_cluster.endpoints()
    credentials = Credentials(endpoints.s3_access_key, endpoints.s3_secret_key, endpoints.s3_in_cluster)
    bucket = Bucket(endpoints.s3, credentials.access_key, credentials.secret_key)
    operatorinstall.install(node_cluster, images.operator, reporter(request.config))
    with closing(ClusterApi(node_cluster.kubeconfig)) as api:
        api.apply(manifests.profile(images.trainer, credentials.endpoint))
    filled = shelf.fill(bucket)
    with Chronicle(node_cluster.kubeconfig) as chronicle:
        yield World(
            kubeconfig=node_cluster.kubeconfig,
            chronicle=chronicle,
            bucket=bucket,
            shelf=filled,
            credentials=credentials,
            operator=OperatorPods(chronicle),
            operator_image=images.operator,
            kubectl=node_cluster.kubectl,
            run=uuid.uuid4().hex[:4],
        )


@pytest.fixture(scope="session")
def side_by_side(request: pytest.FixtureRequest, world: World) -> Iterator[SideBySide]:
    """All selected scenarios, started at once."""
    scenarios = SideBySide(selected(request.session.items), world, reporter(request.config))
    yield scenarios
    scenarios.close()


@pytest.fixture
def stage(side_by_side: SideBySide) -> SideBySide:
    """A scenario's stage: the scenario got it when it was started, together with the others."""
    return side_by_side


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Hand over the outcome of a scenario in place of running it once more."""
    if pyfuncitem.get_closest_marker(MARK) is None:
        return None
    scenarios = cast("SideBySide", pyfuncitem.funcargs["stage"])
    scenarios.outcome(pyfuncitem.nodeid)
    return True

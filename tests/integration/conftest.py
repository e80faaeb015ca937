"""A real API server for the integration tests, one for the whole session, and the programs of a real Prometheus."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.controlplane import ControlPlane
from devcluster.errors import DevclusterError
from devcluster.prometheus import find_prometheus
from devcluster.pytest_progress import reporter


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane: ``control_plane.kubeconfig``, ``control_plane.kubectl(*arguments, input=…)``."""
    with ControlPlane(report=reporter(request.config)) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def prometheus_programs(request: pytest.FixtureRequest) -> Path:
    """The folder with `prometheus` and `promtool`."""
    try:
        return find_prometheus(reporter(request.config))
    except DevclusterError as reason:
        pytest.skip(str(reason))

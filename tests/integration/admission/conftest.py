from collections.abc import Iterator
from pathlib import Path

import pytest

from admission.api import Admission
from devcluster.controlplane import ControlPlane
from devcluster.crds import install_crds
from samples.kinds import every_kind

CRDS = Path(__file__).parents[3] / "crds"


@pytest.fixture(scope="session")
def admission(control_plane: ControlPlane) -> Iterator[Admission]:
    """The API server with our CRDs, two namespaces and one stored object of each kind."""
    install_crds(control_plane, CRDS)
    for namespace in ("team", "engines"):
        control_plane.kubectl("create", "namespace", namespace)
    api = Admission(control_plane.kubeconfig)
    for document in every_kind().values():
        assert api.create(document, store=True) == []
    yield api
    api.close()
    control_plane.kubectl("delete", "-f", str(CRDS))
    control_plane.kubectl("delete", "namespace", "team", "engines", "--wait=false")

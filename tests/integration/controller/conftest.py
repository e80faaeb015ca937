"""A control plane of its own: the operator acts on everything that it sees."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.api import Api
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet
from controller.replica import Replica
from controller.rights import install_rights
from devcluster.controlplane import ControlPlane
from devcluster.crds import install_crds
from devcluster.pytest_progress import reporter

CRDS = Path(__file__).parents[3] / "crds"

StartReplica = Callable[..., Replica]


@pytest.fixture(scope="session")
def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane with our CRDs."""
    with ControlPlane(report=reporter(request.config)) as started:
        install_crds(started, CRDS)
        yield started


@pytest.fixture(scope="session")
def operator_kubeconfig(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of the operator's account."""
    return install_rights(plane, tmp_path_factory.mktemp("rights"))


@pytest.fixture
def api(plane: ControlPlane) -> Iterator[Api]:
    client = Api(plane.kubeconfig)
    yield client
    client.close()


@pytest.fixture
def kubelet(plane: ControlPlane) -> Iterator[FakeKubelet]:
    with FakeKubelet(plane.kubeconfig) as running:
        yield running


@pytest.fixture
def start_replica(operator_kubeconfig: Path, tmp_path: Path) -> Iterator[StartReplica]:
    """Starts operators; each is stopped at the end of the test."""
    running: list[Replica] = []

    def start(*arguments: str, name: str = "one", command: list[str] | None = None) -> Replica:
        log = tmp_path / f"{name}-{len(running)}.log"
        running.append(Replica(operator_kubeconfig, log, *arguments, name=name, command=command))
        return running[-1]

    yield start
    for replica in running:
        replica.stop()
        print(f"--- {replica.name} ended with {replica.process.returncode}\n{replica.log.read_text()[-8000:]}")


@pytest.fixture
def fleet(api: Api) -> Iterator[Fleet]:
    """A fleet of two bindings in a namespace of its own; everything of it is deleted at the end."""
    name = f"t{uuid.uuid4().hex[:8]}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    made = Fleet(api, name, "one", "two")
    made.create()
    yield made
    api.delete("Namespace", name)
    for kind in ("BaseModelRelease", "TrainerProfile"):
        for found in api.everywhere(kind):
            if found["metadata"]["name"].startswith(name):
                api.delete(kind, found["metadata"]["name"])

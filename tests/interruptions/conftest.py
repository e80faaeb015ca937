"""One trainer process and its worlds for all tests of a session, and an empty store for each test."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.pytest_progress import reporter
from interruptions.trainer import Trainer, running_trainer
from interruptions.world import World
from relora_store.filesystems import Filesystems
from samples.gateways import running_gateway
from samples.laptop import write_laptop
from samples.places import BUCKET, Gateway, Place
from samples.tinymodels import character_tokenizer, tiny_base

MakePlace = Callable[[], Place]


@pytest.fixture(scope="session")
def trainer() -> Iterator[Trainer]:
    with running_trainer() as running:
        yield running


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a re-adaptation reads. The adapter was trained with dropout, and so will it be."""
    root = tmp_path_factory.mktemp("laptop")
    write_laptop(root, tiny_base(), character_tokenizer(), dropout=0.1)
    return root


def make_world(
    tmp_path_factory: pytest.TempPathFactory, trainer: Trainer, laptop: Path, **readaptation: object
) -> World:
    root = tmp_path_factory.mktemp("world")
    return World(root, trainer, laptop, Place(f"file://{root}/store", Filesystems(environ={})), **readaptation)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, trainer: Trainer, laptop: Path) -> World:
    """Every step runs to its end."""
    return make_world(
        tmp_path_factory,
        trainer,
        laptop,
        readaptation={
            "refine": "Always",
            "search": {"budget": 5},
            "tuning": {"batchSize": 8, "epochs": 3, "recoverFraction": "0.5", "learningRate": "2e-2"},
        },
    )


@pytest.fixture(scope="session")
def ready_world(tmp_path_factory: pytest.TempPathFactory, trainer: Trainer, laptop: Path) -> World:
    """Coefficients are fitted by module, and stage 1 ends early: the monitor says twice that it is enough."""
    world = make_world(
        tmp_path_factory,
        trainer,
        laptop,
        gates=[{"metric": "Loss", "threshold": "2"}],
        readaptation={
            "search": {"budget": 10, "granularity": "PerModule"},
            "tuning": {"batchSize": 8, "epochs": 8, "recoverFraction": "0.9", "learningRate": "2e-2"},
        },
    )
    steps = world.report("recover").optimizer_steps
    assert 2 * 4 < steps < 0.9 * 8 * 6 - 4, "the monitor is to end the stage, and not at its first two looks"
    return world


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory, reporter(request.config)) as running:
        yield running


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.integration)])
def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> MakePlace:
    """Makes empty stores: local folders, or prefixes of a bucket of a real S3 gateway."""
    if request.param == "file":
        return lambda: Place(f"file://{tmp_path}/{uuid.uuid4().hex}/store", Filesystems(environ={}))
    running: Gateway = request.getfixturevalue("gateway")
    return lambda: Place(f"s3://{BUCKET}/{uuid.uuid4().hex}/store", running.filesystems)

"""A re-adaptation without Kubernetes: the same requests, the same steps, one after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from relora_contract.artifacts import ArtifactRef
from relora_contract.model import Model
from relora_contract.readaptation import Readaptation, plan
from relora_contract.report import Step
from relora_contract.request import (
    BaseRef,
    DatasetRefs,
    DeltaRequest,
    ReadaptationItem,
    ReadaptationRequest,
    delta_digest,
    gates_digest,
    readaptation_digest,
)
from relora_contract.scalars import Digest, StoreUri
from relora_contract.task import Gate, Task
from relora_store.digest import digest_of_uri
from relora_store.filesystems import Filesystems
from relora_trainer.errors import ConfigurationError
from relora_trainer.execution import Ended
from relora_trainer.standing import steps_of


class LocalArtifact(Model):
    """An artifact whose digest may be left out; it is then computed."""

    uri: StoreUri
    digest: Digest | None = None


class LocalDataset(Model):
    """The three files of a dataset."""

    train: LocalArtifact
    validation: LocalArtifact
    test: LocalArtifact


class LocalRun(Model):
    """What `relora-trainer run` reads."""

    source_base: LocalArtifact
    target_base: LocalArtifact
    adapter: LocalArtifact
    dataset: LocalDataset
    task: Task
    gates: Annotated[list[Gate], Field(min_length=1)]
    readaptation: Readaptation = Readaptation()
    store_uri: StoreUri


def read_local_run(path: Path) -> LocalRun:
    """Read the file of a run.

    Raises:
        ConfigurationError: It is missing, or a field is wrong; the message names the field.
    """
    try:
        return LocalRun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def run_locally(local: LocalRun, one_step: Callable[[Step, DeltaRequest | ReadaptationRequest], Ended]) -> Ended:
    """Carry out every step of a run and return how the last one ended; the first failure ends the run."""
    filesystems = Filesystems()

    def pinned(artifact: LocalArtifact) -> ArtifactRef:
        return ArtifactRef(uri=artifact.uri, digest=artifact.digest or digest_of_uri(filesystems, artifact.uri).digest)

    source_base = BaseRef(release_name="source", **pinned(local.source_base).model_dump())
    target_base = BaseRef(release_name="target", **pinned(local.target_base).model_dump())
    chosen = plan(local.readaptation)
    delta = None
    if chosen.uses_delta:
        digest = delta_digest(source_base_digest=source_base.digest, target_base_digest=target_base.digest, image=None)
        request = DeltaRequest(
            request_digest=digest, source_base=source_base, target_base=target_base, store_uri=local.store_uri
        )
        end = one_step("delta", request)
        if end.report is None:
            return end
        delta = end.report.artifact
    dataset = DatasetRefs(
        train=pinned(local.dataset.train),
        validation=pinned(local.dataset.validation),
        test=pinned(local.dataset.test),
    )
    adapter = pinned(local.adapter)
    item = ReadaptationItem(
        request_digest=readaptation_digest(
            source_base_digest=source_base.digest,
            target_base_digest=target_base.digest,
            adapter_digest=adapter.digest,
            dataset=dataset,
            task=local.task,
            plan=chosen,
            image=None,
        ),
        gates_digest=gates_digest(local.gates),
        adapter=adapter,
        dataset=dataset,
        task=local.task,
        gates=local.gates,
        plan=chosen,
    )
    readaptation = ReadaptationRequest(
        source_base=source_base, target_base=target_base, delta=delta, store_uri=local.store_uri, items=[item]
    )
    for step in steps_of(readaptation):
        end = one_step(step, readaptation)
        if end.report is None:
            return end
    return end

"""StepRequest: what a Job is asked to do, and the digest that names the result.

The request digest covers everything that determines the result and nothing else: no names, uids, attempts, times,
thresholds or resources. After a restore of the cluster every finished output is found again.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.types import JsonValue

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import json_digest
from relora_contract.model import Model
from relora_contract.readaptation import Plan
from relora_contract.scalars import Digest, StoreUri
from relora_contract.serving import Engine
from relora_contract.task import Gate, Task
from relora_contract.wellknown import CONTRACT_VERSION, DELTA_RANK


class BaseRef(ArtifactRef):
    """The weights of one release."""

    release_name: str


class CredentialMount(Model):
    """A mounted Secret and the URIs that it is for; the longest prefix wins."""

    uri_prefix: str
    directory: str
    endpoint: str | None = None


class DatasetRefs(Model):
    """The three files of a dataset, each pinned by the digest of its bytes."""

    train: ArtifactRef
    validation: ArtifactRef
    test: ArtifactRef


class ReadaptationItem(Model):
    """One adapter to carry to the new base."""

    request_digest: Digest
    gates_digest: Digest
    adapter: ArtifactRef
    dataset: DatasetRefs
    task: Task
    gates: Annotated[list[Gate], Field(min_length=1)]
    plan: Plan
    engine: Engine | None = Field(
        default=None, description="Absent when the adapter has no server: no engine limits it."
    )
    max_lora_rank: int | None = Field(
        default=None, alias="maxLoRARank", description="Absent like the engine: no server limits the rank."
    )


class DeltaRequest(Model):
    """Project the difference of two bases."""

    contract_version: Literal[1] = 1
    kind: Literal["Delta"] = "Delta"
    request_digest: Digest
    source_base: BaseRef
    target_base: BaseRef
    store_uri: StoreUri
    rank: int = DELTA_RANK
    image: str | None = None
    credentials: list[CredentialMount] = Field(default_factory=list)


class ReadaptationRequest(Model):
    """Carry adapters to a new base. A list, so that one load of the base can serve several adapters; today one."""

    contract_version: Literal[1] = 1
    kind: Literal["Readaptation"] = "Readaptation"
    source_base: BaseRef
    target_base: BaseRef
    delta: ArtifactRef | None = Field(default=None, description="Absent when the strategy does not use the delta.")
    store_uri: StoreUri
    image: str | None = None
    credentials: list[CredentialMount] = Field(default_factory=list)
    items: Annotated[list[ReadaptationItem], Field(min_length=1, max_length=1)]


StepRequest = Annotated[DeltaRequest | ReadaptationRequest, Field(discriminator="kind")]
STEP_REQUEST: TypeAdapter[DeltaRequest | ReadaptationRequest] = TypeAdapter(StepRequest)
"""Parses either request from JSON."""


def delta_digest(*, source_base_digest: str, target_base_digest: str, image: str | None) -> str:
    """Return the request digest of the delta of two bases."""
    content: dict[str, JsonValue] = {
        "contractVersion": CONTRACT_VERSION,
        "kind": "Delta",
        "sourceBase": source_base_digest,
        "targetBase": target_base_digest,
        "rank": DELTA_RANK,
        "image": image,
    }
    return json_digest(content)


def readaptation_digest(
    *,
    source_base_digest: str,
    target_base_digest: str,
    adapter_digest: str,
    dataset: DatasetRefs,
    task: Task,
    plan: Plan,
    image: str | None,
) -> str:
    """Return the request digest of one adapter's re-adaptation."""
    content: dict[str, JsonValue] = {
        "contractVersion": CONTRACT_VERSION,
        "kind": "Readaptation",
        "sourceBase": source_base_digest,
        "targetBase": target_base_digest,
        "adapter": adapter_digest,
        "dataset": {
            "train": dataset.train.digest,
            "validation": dataset.validation.digest,
            "test": dataset.test.digest,
        },
        "task": _task_content(task),
        "plan": plan.to_json(),
        "image": image,
    }
    return json_digest(content)


def _task_content(task: Task) -> JsonValue:
    """Return what matters of a task, field by field: a subclass also knows places and secrets, a default is a value.

    What is absent is left out, so that a field of the future changes no digest of today.
    """
    content: dict[str, JsonValue] = {
        "kind": task.kind,
        "promptTemplate": task.prompt_template,
        "messages": [message.to_json() for message in task.messages] if task.messages else None,
        "completionField": task.completion_field,
        "choices": list(task.choices) if task.choices else None,
        "maxLength": task.effective_max_length,
    }
    return {name: value for name, value in content.items() if value is not None}


def gates_digest(gates: list[Gate]) -> str:
    """Return the digest of the gates, whatever their order."""
    return json_digest([gate.to_json() for gate in sorted(gates, key=lambda gate: gate.metric)])

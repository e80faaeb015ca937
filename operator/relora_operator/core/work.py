"""What Jobs are asked to do, and the digests that name the results."""

from dataclasses import dataclass
from functools import cached_property

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_contract.names import delta_job_name, readaptation_job_name
from relora_contract.readaptation import Plan, plan, reads_delta
from relora_contract.request import DatasetRefs, delta_digest, gates_digest, readaptation_digest
from relora_contract.task import Task
from relora_operator.core.pairs import Pair, weights_ref

LABEL_DIGITS = 63


def label_of(digest: str) -> str:
    """Return the part of a digest that fits into a label."""
    return hex_part(digest)[:LABEL_DIGITS]


def image_digest(profile: TrainerProfile) -> str:
    """Return the digest of the trainer image; the registry that it comes from determines no result."""
    return profile.spec.image.rpartition("@")[2]


@dataclass(frozen=True, kw_only=True)
class DeltaWork:
    """The projection of one base's difference from another."""

    source_release: str
    source_base: ArtifactRef
    target: BaseModelRelease
    image: str

    @cached_property
    def request_digest(self) -> str:
        """The digest that names the delta."""
        return delta_digest(
            source_base_digest=self.source_base.digest,
            target_base_digest=self.target.spec.weights.digest,
            image=self.image,
        )

    def job_name(self, attempt: int) -> str:
        """Return the name of the Job."""
        return delta_job_name(self.target.metadata.name, self.request_digest, attempt)


@dataclass(frozen=True, kw_only=True)
class ReadaptationWork:
    """One adapter to carry to a new base. What follows from it is worked out once: several places ask for it."""

    binding: AdapterBinding
    start: Pair
    target: BaseModelRelease
    image: str

    @cached_property
    def plan(self) -> Plan:
        """Strategy and settings with every default."""
        return plan(self.binding.spec.effective_readaptation)

    @property
    def needs_delta(self) -> bool:
        """Whether the strategy reads the projected delta."""
        return reads_delta(self.binding.spec.effective_readaptation.effective_strategy)

    @cached_property
    def delta(self) -> DeltaWork:
        """The delta that the strategy reads."""
        return DeltaWork(
            source_release=self.start.release, source_base=self.start.base, target=self.target, image=self.image
        )

    @cached_property
    def dataset(self) -> DatasetRefs:
        """The three files of the task's dataset."""
        dataset = self.binding.spec.task.dataset
        return DatasetRefs(
            train=ArtifactRef(uri=dataset.train.uri, digest=dataset.train.digest),
            validation=ArtifactRef(uri=dataset.validation.uri, digest=dataset.validation.digest),
            test=ArtifactRef(uri=dataset.test.uri, digest=dataset.test.digest),
        )

    @cached_property
    def task(self) -> Task:
        """The task without the places of its data."""
        return Task.model_validate(self.binding.spec.task.model_dump(exclude={"dataset"}))

    @cached_property
    def request_digest(self) -> str:
        """The digest that names the result."""
        return self.request_digest_from(self.start.base.digest, self.start.adapter.digest)

    def request_digest_from(self, base_digest: str, adapter_digest: str) -> str:
        """Return the digest that the same work has when it starts from another pair."""
        return readaptation_digest(
            source_base_digest=base_digest,
            target_base_digest=weights_ref(self.target).digest,
            adapter_digest=adapter_digest,
            dataset=self.dataset,
            task=self.task,
            plan=self.plan,
            image=self.image,
        )

    @cached_property
    def gates_digest(self) -> str:
        """The digest of the gates that the steps are judged by."""
        return gates_digest(self.binding.spec.quality.gates)

    def job_name(self, attempt: int) -> str:
        """Return the name of the Job."""
        return readaptation_job_name(self.binding.metadata.name, self.request_digest, attempt)

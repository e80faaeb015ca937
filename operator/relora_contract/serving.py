"""What one workload serves, and with which engine. The set travels in an annotation of the workload's pod template."""

from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import Field

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import canonical_json, sha256_digest
from relora_contract.model import Model
from relora_contract.scalars import ServedName


class Engine(StrEnum):
    """What loads the adapters of a workload. It limits their kinds."""

    VLLM = "VLLM"
    """No DoRA, no replaced modules such as heads, one rank per adapter."""
    PEFT = "PEFT"
    """Whatever PEFT loads."""


class ServedAdapter(ArtifactRef):
    """An adapter and the name that clients ask for."""

    name: ServedName


class ServingSet(Model):
    """One base and the adapters made for it, sorted by name."""

    release: str
    base: ArtifactRef
    adapters: Annotated[list[ServedAdapter], Field(max_length=256)]

    @classmethod
    def of(cls, release: str, base: ArtifactRef, adapters: list[ServedAdapter]) -> "ServingSet":
        """Return the set with its adapters in canonical order."""
        return cls(release=release, base=base, adapters=sorted(adapters, key=lambda adapter: adapter.name))

    @cached_property
    def _text(self) -> str:
        return canonical_json(self.to_json()).decode()

    def to_annotation(self) -> str:
        """Return the canonical JSON that the annotation carries."""
        return self._text

    @cached_property
    def digest(self) -> str:
        """Digest of the annotation's value."""
        return sha256_digest(self.to_annotation().encode())

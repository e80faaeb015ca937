"""References to artifacts and the manifest that describes one."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from relora_contract.digests import FileEntry, hex_part
from relora_contract.model import Model
from relora_contract.scalars import Decimal, Digest, StoreUri

MANIFEST_FOLDER = "manifests/sha256"
BLOB_FOLDER = "blobs/sha256"

ArtifactKind = Literal["Adapter", "Delta", "TrainingState", "Outcomes"]
"""What a manifest describes."""


class ArtifactRef(Model):
    """An artifact and the digest that pins it.

    A URI below `manifests/sha256/` names a manifest, and `digest` is that of the manifest's bytes. Any other URI
    names a folder (`digest` is its folder digest) or a single data file (`digest` is that of its bytes).
    """

    uri: StoreUri = Field(description="Where it lies.")
    digest: Digest = Field(description="Digest that pins its content.")

    @property
    def is_manifest(self) -> bool:
        """Whether the URI names a manifest of a store."""
        return f"/{MANIFEST_FOLDER}/" in self.uri


def manifest_ref(store_uri: str, digest: str) -> ArtifactRef:
    """Return the reference to the manifest of `digest` in the store at `store_uri`."""
    return ArtifactRef(uri=f"{store_uri.rstrip('/')}/{MANIFEST_FOLDER}/{hex_part(digest)}.json", digest=digest)


class TokenLogprob(Model):
    """Log-probability of one next token, in nats."""

    token: int
    logprob: Decimal


class Fingerprint(Model):
    """What a server must answer when it has really loaded the adapter.

    Log-probabilities of next tokens after fixed prompts, of the bare base and with the adapter; of a classifier those
    of its classes, whose row stands for the token, and `base` is with the adapter's head and without its factors. A
    served model is the adapter when its answers are nearer to `adapter` than to `base`.
    """

    kind: Literal["NextToken", "Class"] = "NextToken"
    prompt: Annotated[list[int], Field(min_length=1, max_length=256)]
    base: Annotated[list[TokenLogprob], Field(min_length=1, max_length=20)]
    adapter: Annotated[list[TokenLogprob], Field(min_length=1, max_length=20)]


class Provenance(Model):
    """What an artifact was made from."""

    request_digest: Digest
    step: Annotated[str, StringConstraints(max_length=16)]
    source_base_digest: Digest
    target_base_digest: Digest
    input_adapter_digest: Digest | None = None
    dataset_digests: dict[str, Digest] = Field(default_factory=dict)
    code_version: str
    image: str | None = None
    seed: int
    alpha: Decimal | None = None
    beta: Decimal | None = None


class Manifest(Model):
    """The list of an artifact's files, with what they were made from. Its digest is the artifact's."""

    contract_version: Literal[1] = 1
    kind: ArtifactKind
    files: dict[str, FileEntry]
    provenance: Provenance
    fingerprints: list[Fingerprint] = Field(default_factory=list)

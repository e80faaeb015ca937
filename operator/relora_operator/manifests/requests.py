"""The StepRequest of a Job, with the secrets by which its pods reach the stores."""

from dataclasses import dataclass
from functools import cached_property

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.artifacts import ArtifactRef, manifest_ref
from relora_contract.digests import canonical_json
from relora_contract.request import (
    BaseRef,
    CredentialMount,
    DeltaRequest,
    ReadaptationItem,
    ReadaptationRequest,
)
from relora_contract.serving import Engine
from relora_contract.wellknown import CREDENTIALS_DIRECTORY
from relora_operator.core.pairs import weights_ref
from relora_operator.core.work import DeltaWork, ReadaptationWork

ANY_URI = "s3://"
"""The store's secret also serves what no longer prefix claims."""


@dataclass(frozen=True, kw_only=True)
class SecretMount:
    """A Secret of the Job's namespace and the folder where its keys appear as files."""

    secret_name: str
    directory: str


@dataclass(frozen=True, kw_only=True)
class MountedRequest:
    """What a Job is asked to do, and the secrets that it needs for that."""

    request: DeltaRequest | ReadaptationRequest
    secrets: tuple[SecretMount, ...]

    @cached_property
    def annotation(self) -> str:
        """Value of the annotation that carries the request."""
        return canonical_json(self.request.to_json()).decode()


def store_uri(profile: TrainerProfile, namespace: str) -> str:
    """Return the root of the store of one namespace."""
    return profile.spec.store.uri.replace("{namespace}", namespace)


def delta_request(work: DeltaWork, profile: TrainerProfile) -> MountedRequest:
    """Return the request of a delta Job."""
    credentials, secrets = _mounts(
        _platform_secrets(profile, profile.spec.store.delta_uri), profile.spec.store.endpoint
    )
    request = DeltaRequest(
        request_digest=work.request_digest,
        source_base=_base(work.source_release, work.source_base),
        target_base=_base(work.target.metadata.name, weights_ref(work.target)),
        store_uri=profile.spec.store.delta_uri,
        image=work.image,
        credentials=credentials,
    )
    return MountedRequest(request=request, secrets=secrets)


def readaptation_request(
    work: ReadaptationWork,
    profile: TrainerProfile,
    *,
    delta_manifest_digest: str | None,
    engine: Engine | None,
    max_lora_rank: int | None,
) -> MountedRequest:
    """Return the request of a re-adaptation Job.

    Args:
        work: What is asked for.
        profile: Where its results go, and by which secrets.
        delta_manifest_digest: Of the delta's manifest in the delta store.
        engine: Of the server; None without one. Like the rank it admits or refuses the adapter and changes no result,
            so the request digest covers neither.
        max_lora_rank: The highest rank that the server loads; None without one.
    """
    store = store_uri(profile, work.binding.metadata.namespace)
    credentials, secrets = _mounts(
        _platform_secrets(profile, store) | _tenant_secrets(work.binding), profile.spec.store.endpoint
    )
    delta = manifest_ref(profile.spec.store.delta_uri, delta_manifest_digest) if delta_manifest_digest else None
    item = ReadaptationItem(
        request_digest=work.request_digest,
        gates_digest=work.gates_digest,
        adapter=work.start.adapter,
        dataset=work.dataset,
        task=work.task,
        gates=work.binding.spec.quality.gates,
        plan=work.plan,
        engine=engine,
        max_lora_rank=max_lora_rank,
    )
    request = ReadaptationRequest(
        source_base=_base(work.start.release, work.start.base),
        target_base=_base(work.target.metadata.name, weights_ref(work.target)),
        delta=delta,
        store_uri=store,
        image=work.image,
        credentials=credentials,
        items=[item],
    )
    return MountedRequest(request=request, secrets=secrets)


def _base(release_name: str, weights: ArtifactRef) -> BaseRef:
    return BaseRef(release_name=release_name, uri=weights.uri, digest=weights.digest)


def _platform_secrets(profile: TrainerProfile, written: str) -> dict[str, str]:
    """Return secret names by URI prefix. What the Job writes below `written` is the store's, whatever else matches."""
    named = {credential.uri_prefix: credential.secret_name for credential in profile.spec.credentials or []}
    store = profile.spec.store.secret_name
    return {ANY_URI: store} | named | {written: store}


def _tenant_secrets(binding: AdapterBinding) -> dict[str, str]:
    secrets: dict[str, str] = {}
    source, dataset = binding.spec.source, binding.spec.task.dataset
    if dataset.secret_ref is not None:
        for file in (dataset.train, dataset.validation, dataset.test):
            secrets[file.uri] = dataset.secret_ref.name
    if source.secret_ref is not None:
        secrets[source.uri] = source.secret_ref.name
    return secrets


def _mounts(
    secrets_by_prefix: dict[str, str], endpoint: str | None
) -> tuple[list[CredentialMount], tuple[SecretMount, ...]]:
    """Give each secret one folder, and each prefix the folder of its secret."""
    names = sorted(set(secrets_by_prefix.values()))
    directories = {name: f"{CREDENTIALS_DIRECTORY}/{number}" for number, name in enumerate(names)}
    credentials = [
        CredentialMount(uri_prefix=prefix, directory=directories[secret], endpoint=endpoint)
        for prefix, secret in sorted(secrets_by_prefix.items())
    ]
    return credentials, tuple(SecretMount(secret_name=name, directory=directories[name]) for name in names)

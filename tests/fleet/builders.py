"""Objects of a fleet, written in the order in which one speaks of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relora_contract.api.binding import (
    AdapterBinding,
    AdapterBindingSpec,
    Candidate,
    CurrentPair,
    StepState,
    StepStatus,
)
from relora_contract.api.meta import Condition, ConditionStatus, LocalRef
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease, DeltaStatus
from relora_contract.api.server import AdapterServer
from relora_contract.artifacts import ArtifactRef, manifest_ref
from relora_contract.digests import sha256_digest
from relora_contract.report import StepOutcome, Verdict
from relora_operator.core.candidate import source_of
from relora_operator.core.lineage import chain
from relora_operator.core.observed import NamespaceView
from relora_operator.core.pairs import Pair, weights_ref
from relora_operator.core.participation import Participant
from relora_operator.core.tally import Tally
from relora_operator.core.times import timestamp
from relora_operator.core.work import DeltaWork, ReadaptationWork, image_digest

START = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "tiny"
GATES: list[dict[str, str]] = [{"metric": "Accuracy", "threshold": "0.8"}]


def digest(word: str) -> str:
    """Return a digest that differs for every word."""
    return sha256_digest(word.encode())


def at(minutes: float) -> datetime:
    """Return a moment after the start of the story."""
    return START + timedelta(minutes=minutes)


def make_profile(name: str = "default", image: str = "image-1", **spec: object) -> TrainerProfile:
    return TrainerProfile.model_validate(
        {
            "metadata": {"name": name, "uid": f"profile-{name}"},
            "spec": {
                "image": f"registry.local/relora-trainer@{digest(image)}",
                "store": {
                    "uri": "s3://adapters/{namespace}",
                    "deltaUri": "s3://models/deltas",
                    "endpoint": "http://s3.local:9000",
                    "secretName": "relora-store",
                },
                **spec,
            },
        }
    )


def make_release(name: str, supersedes: str | None = None, *, minutes: float = 0, **spec: object) -> BaseModelRelease:
    return BaseModelRelease.model_validate(
        {
            "metadata": {
                "name": name,
                "uid": f"release-{name}",
                "generation": 1,
                "creationTimestamp": timestamp(at(minutes)),
            },
            "spec": {
                "model": MODEL,
                "version": name,
                "supersedes": supersedes,
                "weights": {"uri": f"s3://models/{name}", "digest": digest(f"weights of {name}")},
                "profileRef": {"name": "default"},
                **spec,
            },
        }
    )


def make_server(name: str = "vllm", namespace: str = "serving", *, minutes: float = 0, **spec: object) -> AdapterServer:
    return AdapterServer.model_validate(
        {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"server-{namespace}-{name}",
                "generation": 1,
                "creationTimestamp": timestamp(at(minutes)),
            },
            "spec": {
                "model": MODEL,
                "initialReleaseName": "r1",
                "targetRef": {"kind": "Deployment", "name": name},
                "allowedBindings": {"from": "All"},
                **spec,
            },
        }
    )


def make_namespace(name: str, **labels: str) -> NamespaceView:
    return NamespaceView(name=name, labels=labels)


@dataclass(frozen=True)
class BindingBuilder:
    """A binding under construction; every method returns the next stage."""

    binding: AdapterBinding

    def build(self) -> AdapterBinding:
        return self.binding

    def with_spec(self, **spec: object) -> BindingBuilder:
        before = self.binding.spec.model_dump(by_alias=True, exclude_none=True)
        return self._with(spec=AdapterBindingSpec.model_validate({**before, **spec}))

    def on_server(self, name: str = "vllm", namespace: str = "serving") -> BindingBuilder:
        return self.with_spec(serverRef={"name": name, "namespace": namespace})

    def annotated(self, **annotations: str) -> BindingBuilder:
        named = {f"relora.dev/{key}": value for key, value in annotations.items()}
        return self._with(metadata=self.binding.metadata.model_copy(update={"annotations": named}))

    def promoted_on(self, release: str, adapter: str | None = None, *, minutes: float = 1) -> BindingBuilder:
        """A pair in use. Without an adapter's name it is the pinned one."""
        source = self.binding.spec.source
        ref = (
            manifest_ref(f"s3://adapters/{self.binding.metadata.namespace}", digest(adapter))
            if adapter
            else ArtifactRef(uri=source.uri, digest=source.digest)
        )
        pair = CurrentPair(
            release_name=release,
            base=weights_ref(make_release(release)),
            adapter=ref,
            promoted_time=timestamp(at(minutes)),
        )
        return self._with_status(current=pair)

    def pursuing(self, release: str, *, attempt: int = 1, profile: TrainerProfile | None = None) -> BindingBuilder:
        """A candidate without a Job."""
        work = self.work(release, profile)
        candidate = Candidate(
            release_name=release,
            base=weights_ref(work.target),
            source=source_of(work.start),
            request_digest=work.request_digest,
            gates_digest=work.gates_digest,
            image=work.image,
            attempt=attempt,
            steps=[StepStatus(name=name, state=StepState.PENDING) for name in work.plan.steps],
        )
        return self._with_status(candidate=candidate)

    def with_job(self, *, minutes: float = 2) -> BindingBuilder:
        candidate = self._candidate()
        name = f"{self.binding.metadata.name}-{candidate.request_digest[7:15]}-{candidate.attempt}"
        return self._with_candidate(job_ref=LocalRef(name=name), start_time=timestamp(at(minutes)))

    def passed_on(self, release: str, adapter: str = "passed", *, minutes: float = 5) -> BindingBuilder:
        """A candidate whose first step passed its gate."""
        built = self.pursuing(release).with_job()
        steps = [
            StepStatus(
                name=step.name,
                state=StepState.FINISHED,
                outcome=StepOutcome.SUCCEEDED if index == 0 else StepOutcome.SKIPPED,
                verdict=Verdict.PASSED if index == 0 else None,
                adapter_digest=digest(adapter) if index == 0 else None,
            )
            for index, step in enumerate(built._candidate().steps)
        ]
        return built._with_candidate(
            steps=steps,
            adapter=manifest_ref(f"s3://adapters/{self.binding.metadata.namespace}", digest(adapter)),
            passed_time=timestamp(at(minutes)),
            end_time=timestamp(at(minutes)),
        )

    def failed_on(
        self, release: str, reason: str | None, *, failures: int = 1, minutes: float = 5, message: str = "it failed"
    ) -> BindingBuilder:
        """A candidate whose attempt failed; with a reason for good, without one for now."""
        return (
            self.pursuing(release)
            .with_job()
            ._with_candidate(reason=reason, failures=failures, end_time=timestamp(at(minutes)), message=message)
        )

    def told(self, kind: str, reason: str, *, status: ConditionStatus = ConditionStatus.FALSE) -> BindingBuilder:
        condition = Condition(type=kind, status=status, reason=reason, last_transition_time=timestamp(START))
        others = [one for one in self.binding.status.conditions if one.type != kind]
        return self._with_status(conditions=[*others, condition], observed_generation=1)

    def work(self, release: str, profile: TrainerProfile | None = None) -> ReadaptationWork:
        """What the binding asks for on its way to a release."""
        known = chain(MODEL, [make_release("r1"), make_release("r2", "r1"), make_release("r3", "r2")])
        current = self.binding.status.current
        source = self.binding.spec.source
        start = (
            Pair(release=current.release_name, base=current.base, adapter=current.adapter)
            if current
            else Pair(
                release=source.release_name,
                base=weights_ref(known.known[source.release_name]),
                adapter=ArtifactRef(uri=source.uri, digest=source.digest),
            )
        )
        return ReadaptationWork(
            binding=self.binding,
            start=start,
            target=make_release(release),
            image=image_digest(profile or make_profile()),
        )

    def _candidate(self) -> Candidate:
        assert self.binding.status.candidate is not None
        return self.binding.status.candidate

    def _with(self, **fields: object) -> BindingBuilder:
        return BindingBuilder(self.binding.model_copy(update=fields))

    def _with_status(self, **fields: object) -> BindingBuilder:
        return self._with(status=self.binding.status.model_copy(update=fields))

    def _with_candidate(self, **fields: object) -> BindingBuilder:
        return self._with_status(candidate=self._candidate().model_copy(update=fields))


def make_binding(
    name: str = "classifier", namespace: str = "team", *, source: str = "r1", minutes: float = 0, **spec: object
) -> BindingBuilder:
    """A binding with a pinned adapter on the release `source`."""
    data = {
        part: {"uri": f"s3://data/{name}/{part}.jsonl", "digest": digest(f"{part} of {name}")}
        for part in ("train", "validation", "test")
    }
    return BindingBuilder(
        AdapterBinding.model_validate(
            {
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "uid": f"binding-{namespace}-{name}",
                    "generation": 1,
                    "creationTimestamp": timestamp(at(minutes)),
                },
                "spec": {
                    "model": MODEL,
                    "source": {
                        "releaseName": source,
                        "uri": f"s3://adapters/{namespace}/{name}",
                        "digest": digest(f"adapter of {namespace}/{name}"),
                    },
                    "task": {
                        "kind": "CausalLM",
                        "dataset": data,
                        "promptTemplate": "{text}\n",
                        "completionField": "label",
                        "choices": [" a", " b"],
                    },
                    "quality": {"gates": GATES},
                    **spec,
                },
            }
        )
    )


def tally_from(everyone: Iterable[Participant], release: str = "r2") -> Tally:
    """Return the tally of participants."""
    tally = Tally(release=release)
    for one in everyone:
        tally.put(one.key, one.binding, one)
    return tally


def delta_record(source: str, target: str, profile: TrainerProfile | None = None, **fields: object) -> DeltaStatus:
    """The record of a delta that is stored, unless the fields say otherwise."""
    work = DeltaWork(
        source_release=source,
        source_base=weights_ref(make_release(source)),
        target=make_release(target),
        image=image_digest(profile or make_profile()),
    )
    record = DeltaStatus(
        source_release_name=source, request_digest=work.request_digest, digest=digest(f"delta {source} {target}")
    )
    return record.model_copy(update=fields)


def with_delta(release: BaseModelRelease, *records: DeltaStatus) -> BaseModelRelease:
    return release.model_copy(update={"status": release.status.model_copy(update={"deltas": list(records)})})


def timestamp_of(minutes: float) -> str:
    """Return a moment after the start of the story as the API server writes it."""
    return timestamp(at(minutes))

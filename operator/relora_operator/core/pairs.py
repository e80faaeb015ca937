"""The pairs of a binding: an adapter and the release for whose base it was made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from relora_contract.api.binding import AdapterBinding, Candidate, CurrentPair, Promote, StepStatus
from relora_contract.api.release import BaseModelRelease
from relora_contract.artifacts import ArtifactRef
from relora_contract.report import MetricValue, Verdict
from relora_contract.scalars import Timestamp
from relora_operator.core.lineage import Chain
from relora_operator.core.times import moment, seconds_between


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An adapter that may be served, on one base and on no other."""

    release: str
    base: ArtifactRef
    adapter: ArtifactRef
    quality: tuple[MetricValue, ...] = field(default=(), compare=False)
    passed_time: Timestamp | None = field(default=None, compare=False)
    seconds: int | None = field(default=None, compare=False)
    """Time of the steps that made it."""


def weights_ref(release: BaseModelRelease) -> ArtifactRef:
    """Return the weights of a release, where they lie now."""
    return ArtifactRef(uri=release.spec.weights.uri, digest=release.spec.weights.digest)


def source_pair(binding: AdapterBinding, chain: Chain) -> Pair | None:
    """Return the pair that the tenant pinned; None while its release does not exist."""
    source = binding.spec.source
    base = chain.bases.get(source.release_name)
    if base is None:
        return None
    return Pair(
        release=source.release_name,
        base=base,
        adapter=ArtifactRef(uri=source.uri, digest=source.digest),
    )


def promoted_pair(binding: AdapterBinding, chain: Chain) -> Pair | None:
    """Return the pair in use."""
    current = binding.status.current
    return _recorded(current, chain) if current is not None else None


def earlier_pairs(binding: AdapterBinding, chain: Chain) -> tuple[Pair, ...]:
    """Return the pairs that were in use before, one for each release, the latest first."""
    return tuple(_recorded(pair, chain) for pair in binding.status.history)


def was_in_use(binding: AdapterBinding, pair: Pair) -> bool:
    """Tell whether a pair is in use, or was for its release."""
    recorded = (binding.status.current, *binding.status.history)
    known = {(one.release_name, one.adapter.digest) for one in recorded if one is not None}
    return (pair.release, pair.adapter.digest) in known


def _recorded(pair: CurrentPair, chain: Chain) -> Pair:
    return Pair(
        release=pair.release_name,
        base=base_now(pair.release_name, pair.base, chain),
        adapter=pair.adapter,
        quality=tuple(pair.quality),
        seconds=pair.readaptation_seconds,
    )


def base_now(release_name: str, recorded: ArtifactRef, chain: Chain) -> ArtifactRef:
    """Return a recorded base where its release says that it lies now; the digest stays the recorded one."""
    base = chain.bases.get(release_name)
    return base if base is not None and base.digest == recorded.digest else recorded


def baseline(binding: AdapterBinding, chain: Chain) -> Pair | None:
    """Return the pair that a re-adaptation starts from: the one in use, or the pinned one when it is not older.

    When the release in use was withdrawn, it is the pair that was in use before, or the pinned one.
    """
    promoted, pinned = promoted_pair(binding, chain), source_pair(binding, chain)
    if promoted is not None and chain.withdrawn(promoted.release):
        promoted = next(iter(_not_withdrawn(earlier_pairs(binding, chain), chain)), None)
        if promoted is None:
            fallback = pinned if pinned is not None and not chain.withdrawn(pinned.release) else None
            return fallback or promoted_pair(binding, chain)
        if pinned is not None and pinned.release == promoted.release:
            return promoted
    if promoted is None or (pinned is not None and _replaces(pinned, promoted, binding, chain)):
        return pinned
    return promoted


def _not_withdrawn(pairs: Iterable[Pair], chain: Chain) -> Iterator[Pair]:
    return (pair for pair in pairs if not chain.withdrawn(pair.release))


def _replaces(pinned: Pair, promoted: Pair, binding: AdapterBinding, chain: Chain) -> bool:
    if pinned.release == promoted.release:
        return True
    if chain.withdrawn(pinned.release):
        return False
    return any(release.metadata.name == pinned.release for release in releases_after(promoted, binding, chain))


def releases_after(start: Pair, binding: AdapterBinding, chain: Chain) -> tuple[BaseModelRelease, ...]:
    """Return the accepted releases that are newer than a pair of the binding, oldest first."""
    current = binding.status.current
    return chain.after(start.release, current.promoted_time if current else None)


def awaits_better(binding: AdapterBinding, candidate: Candidate) -> bool:
    """Tell whether a pair that passed its gate waits until the last step has ended."""
    best = binding.spec.effective_update_policy.promote is Promote.BEST
    return best and candidate.job_ref is not None and candidate.end_time is None


def passed_pair(binding: AdapterBinding, chain: Chain) -> Pair | None:
    """Return the best pair of the candidate that passed its gate and may be rolled out."""
    candidate = binding.status.candidate
    if candidate is None or candidate.adapter is None or awaits_better(binding, candidate):
        return None
    return Pair(
        release=candidate.release_name,
        base=base_now(candidate.release_name, candidate.base, chain),
        adapter=candidate.adapter,
        quality=_quality(candidate, candidate.adapter.digest),
        passed_time=candidate.passed_time,
        seconds=step_seconds(candidate.steps, candidate.adapter.digest),
    )


def step_seconds(steps: Sequence[StepStatus], adapter_digest: str) -> int | None:
    """Return the time of the steps up to the one that published an adapter; None where no time of it is recorded."""
    made = next((index for index, step in enumerate(steps) if step.adapter_digest == adapter_digest), -1)
    times = [
        seconds_between(step.start_time, moment(step.end_time))
        for step in steps[: made + 1]
        if step.start_time is not None and step.end_time is not None
    ]
    return int(sum(times)) if times else None


def _quality(candidate: Candidate, adapter_digest: str) -> tuple[MetricValue, ...]:
    return next((tuple(step.quality) for step in candidate.steps if step.adapter_digest == adapter_digest), ())


def offer(binding: AdapterBinding, release_name: str, chain: Chain) -> Pair | None:
    """Return the pair that the binding would have served on the base of `release_name`.

    A pinned pair comes first, then what passed the gate, then what is in use. On the way back to an earlier release
    what was in use there comes before them. A pair of which the base's digest is not that of the release is offered
    to nobody.
    """
    base = chain.bases.get(release_name)
    pairs = _pairs_for(binding, release_name, chain)
    return next((pair for pair in pairs if base is None or pair.base.digest == base.digest), None)


def _pairs_for(binding: AdapterBinding, release_name: str, chain: Chain) -> Iterator[Pair]:
    """Yield what a binding has for one release; a server asks all of its members, so that no other pair is made."""
    status = binding.status
    current, candidate = status.current, status.candidate
    if current is not None and current.release_name != release_name:
        yield from (_recorded(pair, chain) for pair in status.history if pair.release_name == release_name)
    pinned = source_pair(binding, chain) if binding.spec.source.release_name == release_name else None
    if pinned is not None:
        yield pinned
    passed = passed_pair(binding, chain) if candidate is not None and candidate.release_name == release_name else None
    if passed is not None:
        yield passed
    if current is not None and current.release_name == release_name:
        yield _recorded(current, chain)


def recognized(binding: AdapterBinding, served: Pair) -> Pair | None:
    """Return a pair that is served under the binding's name with what is known of it; None when it is not its own.

    Besides what it offers, a binding recognizes every step that passed and the pair that gave way to a newer release:
    a roll-out that began with them may end after the binding moved on.
    """
    for claim in _claims(binding):
        if (claim.release, claim.adapter_digest) == (served.release, served.adapter.digest):
            return replace(served, quality=claim.quality, passed_time=claim.passed_time, seconds=claim.seconds)
    return None


@dataclass(frozen=True, kw_only=True)
class _Claim:
    release: str
    adapter_digest: str
    quality: tuple[MetricValue, ...] = ()
    passed_time: Timestamp | None = None
    seconds: int | None = None


def _claims(binding: AdapterBinding) -> Iterator[_Claim]:
    candidate = binding.status.candidate
    if candidate is not None:
        for step in candidate.steps:
            if step.verdict is Verdict.PASSED and step.adapter_digest is not None:
                yield _Claim(
                    release=candidate.release_name,
                    adapter_digest=step.adapter_digest,
                    quality=tuple(step.quality),
                    passed_time=candidate.passed_time,
                    seconds=step_seconds(candidate.steps, step.adapter_digest),
                )
    for recorded in (binding.status.current, binding.status.superseded, *binding.status.history):
        if recorded is not None:
            yield _Claim(
                release=recorded.release_name,
                adapter_digest=recorded.adapter.digest,
                quality=tuple(recorded.quality),
                seconds=recorded.readaptation_seconds,
            )
    source = binding.spec.source
    yield _Claim(release=source.release_name, adapter_digest=source.digest)

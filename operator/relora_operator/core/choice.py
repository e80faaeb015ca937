"""Which request a binding is to pursue: keep the candidate, open another, or none."""

from dataclasses import replace

from relora_contract.api.binding import AdapterBinding, Candidate
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.attempts import active, retried, retry_request
from relora_operator.core.candidate import opened
from relora_operator.core.eligibility import newest_eligible, newest_open
from relora_operator.core.lineage import Chain
from relora_operator.core.pairs import Pair, releases_after, was_in_use
from relora_operator.core.serving import Seat
from relora_operator.core.snapshot import BindingSnapshot
from relora_operator.core.work import ReadaptationWork


def upgrade_target(
    snapshot: BindingSnapshot, binding: AdapterBinding, start: Pair | None, chain: Chain
) -> BaseModelRelease | None:
    """Return the newest eligible release, if it is newer than the pair that a re-adaptation starts from."""
    newest = newest_eligible(chain, binding, snapshot.namespace, snapshot.profiles)
    if start is None or newest is None:
        return None
    newer = releases_after(start, binding, chain)
    return newest if any(release.metadata.name == newest.metadata.name for release in newer) else None


def unapproved_release(
    snapshot: BindingSnapshot, binding: AdapterBinding, start: Pair | None, chain: Chain
) -> BaseModelRelease | None:
    """Return the newest release to which the binding could move, if it only lacks its owner's approval."""
    if start is None:
        return None
    newest = newest_open(releases_after(start, binding, chain), snapshot.namespace, snapshot.profiles)
    return newest if newest is not None and not binding.spec.approves(newest.metadata.name) else None


def choose(
    snapshot: BindingSnapshot,
    binding: AdapterBinding,
    *,
    start: Pair | None,
    target: BaseModelRelease | None,
    work: ReadaptationWork | None,
    chain: Chain,
    place: Seat | None,
    job_present: bool,
) -> Candidate | None:
    """Return the candidate to pursue. `work` is None while the target's profile does not exist."""
    candidate = binding.status.candidate
    if candidate is not None and _is_arriving(candidate, place):
        return candidate
    if target is None:
        return candidate if candidate is not None and _still_improves(binding, candidate, start) else None
    if work is None:
        return candidate if candidate is not None and candidate.release_name == target.metadata.name else None
    if candidate is not None and _pursues(candidate, work, chain, job_present=job_present):
        return retried(candidate, retry_request(binding.metadata))
    return opened(_judged_as_made(candidate, work), snapshot.jobs, candidate)


def _is_arriving(candidate: Candidate, place: Seat | None) -> bool:
    """Tell whether a roll-out under way brings a pair of the candidate: then it is kept until that ends."""
    arriving = place.arriving if place is not None else None
    return (
        arriving is not None
        and arriving.release == candidate.release_name
        and any(step.adapter_digest == arriving.adapter.digest for step in candidate.steps)
    )


def _still_improves(binding: AdapterBinding, candidate: Candidate, start: Pair | None) -> bool:
    """Tell whether the candidate is for the release in use: what it made is in use, or it makes something better."""
    if start is None or candidate.release_name != start.release:
        return False
    pinned = start.adapter.digest == binding.spec.source.digest
    return not (pinned and active(candidate))


def outlives_source(binding: AdapterBinding, candidate: Candidate, start: Pair | None, chain: Chain) -> bool:
    """Tell whether a candidate is kept although the release of the pair that it was made from is withdrawn.

    What passed its gate was judged on its own base, which is not withdrawn. Only a pair that the owner pins instead,
    and that was never in use, is begun with anew.
    """
    source = candidate.source
    if candidate.adapter is None or source is None or not chain.withdrawn(source.release_name):
        return False
    return start is not None and was_in_use(binding, start)


def _pursues(candidate: Candidate, work: ReadaptationWork, chain: Chain, *, job_present: bool) -> bool:
    """Tell whether the candidate is for this very work.

    A newer trainer image alone ends no Job that runs and discards no adapter that passed; a withdrawal of the release
    that it started from discards none either.
    """
    if candidate.release_name != work.target.metadata.name or candidate.gates_digest != work.gates_digest:
        return False
    if candidate.request_digest == work.request_digest:
        return True
    own, source = replace(work, image=candidate.image), candidate.source
    if source is not None and outlives_source(work.binding, candidate, work.start, chain):
        return candidate.request_digest == own.request_digest_from(source.base_digest, source.adapter_digest)
    good = candidate.adapter is not None or candidate.rejudging or (active(candidate) and job_present)
    return good and candidate.request_digest == own.request_digest


def _judged_as_made(candidate: Candidate | None, work: ReadaptationWork) -> ReadaptationWork:
    """Return the work by which a candidate that passed was made, if only the trainer image and the gates are others.

    What it stored is then judged by the changed gates; a newer image alone makes nothing anew.
    """
    if candidate is None or candidate.adapter is None:
        return work
    own = replace(work, image=candidate.image)
    return own if own.request_digest == candidate.request_digest else work

"""The conditions of a binding."""

from collections.abc import Sequence
from dataclasses import dataclass

from relora_contract.api.binding import AdapterBinding, BindingConditionType, Candidate, OnFailure, UpdatePolicy
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.report import StepOutcome, Verdict
from relora_operator.core.blockers import blocks
from relora_operator.core.brakes import brake_of
from relora_operator.core.conditions import Wanted, false, holds, true
from relora_operator.core.lineage import Chain, Refusal
from relora_operator.core.membership import binding_key
from relora_operator.core.observed import NamespaceView
from relora_operator.core.obstacles import Obstacle
from relora_operator.core.pairs import Pair, awaits_better, offer
from relora_operator.core.reasons import REGISTRY, Blame, Reason, parse_reason
from relora_operator.core.serving import SERVER_WIDE, Seat

_VERDICT_REASONS = {
    Verdict.PASSED: Reason.GATE_PASSED,
    Verdict.FAILED: Reason.GATE_FAILED,
    Verdict.INCONCLUSIVE: Reason.GATE_INCONCLUSIVE,
}


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Everything that the conditions tell of."""

    binding: AdapterBinding
    """With the status that is about to be written."""
    start: Pair | None
    target: BaseModelRelease | None
    """The newer release to which the binding is carried; None when there is none."""
    unapproved: BaseModelRelease | None
    """The newest release to which it could move, if that only lacks its owner's approval."""
    place: Seat | None
    waiting: Obstacle | None
    """What the candidate waits for, or what its Job does."""
    chain: Chain
    namespaces: dict[str, NamespaceView]
    profiles: dict[str, TrainerProfile]


def conditions(outlook: Outlook) -> list[Wanted]:
    """Return the wanted conditions; Reconciling and Stalled only while they hold."""
    up_to_date = _up_to_date(outlook)
    ready = _ready(outlook, up_to_date)
    wanted = [ready, up_to_date, _adapted(outlook, up_to_date), _evaluated(outlook, up_to_date)]
    stalled = _stalled(ready, up_to_date, outlook.binding.spec.effective_update_policy)
    if stalled is not None:
        wanted.append(true(BindingConditionType.STALLED, stalled.reason, stalled.message))
    elif ready.status != "True":
        wanted.append(true(BindingConditionType.RECONCILING, ready.reason, ready.message))
    return wanted


def _served(outlook: Outlook) -> bool:
    """Tell whether the recorded pair is what the promoted set serves.

    While another set arrives, the target names only that one; then what was seen before it came still holds.
    """
    status, place = outlook.binding.status, outlook.place
    current = status.current
    if current is None or place is None:
        return current is not None
    if place.promoted is not None:
        return (place.promoted.release, place.promoted.adapter.digest) == (
            current.release_name,
            current.adapter.digest,
        )
    seen = holds(status.conditions, BindingConditionType.READY) and current.server_ref == place.server_ref
    return seen and place.arriving is not None


def _ready(outlook: Outlook, up_to_date: Wanted) -> Wanted:
    kind, current, place = BindingConditionType.READY, outlook.binding.status.current, outlook.place
    if current is not None and _served(outlook):
        return true(kind, Reason.PROMOTED, f"adapter {current.adapter.digest[:19]} on release {current.release_name}")
    refusal = (place.refusal or place.outage) if place is not None else None
    if refusal is not None:
        return false(kind, refusal.reason, refusal.message)
    if up_to_date.status == "True":
        return false(kind, Reason.AWAITING_SERVER, "the server does not serve the pair")
    return false(kind, up_to_date.reason, up_to_date.message)


def _up_to_date(outlook: Outlook) -> Wanted:
    kind, binding = BindingConditionType.UP_TO_DATE, outlook.binding
    if outlook.start is None:
        name = binding.spec.source.release_name
        return false(
            kind,
            Reason.RELEASE_NOT_FOUND,
            f"spec.source.releaseName: the model {binding.spec.model} has no release {name}",
        )
    if outlook.target is None:
        return _without_newer(outlook, outlook.start)
    return _upgrading(outlook, outlook.target.metadata.name)


def _without_newer(outlook: Outlook, start: Pair) -> Wanted:
    current = outlook.binding.status.current
    if current is None or (current.release_name, current.adapter.digest) != (start.release, start.adapter.digest):
        return _awaiting(outlook, start.release)
    release = outlook.chain.known.get(start.release)
    if release is not None and release.spec.weights.digest != start.base.digest:
        message = f"release {start.release} was created anew with other weights than those that the adapter is for"
        return false(BindingConditionType.UP_TO_DATE, Reason.BASE_SKEW, message)
    if outlook.chain.withdrawn(start.release):
        message = f"release {start.release} is withdrawn, and the binding has no pair for another one"
        return false(BindingConditionType.UP_TO_DATE, Reason.RELEASE_WITHDRAWN, message)
    if outlook.unapproved is not None:
        message = f"release {outlook.unapproved.metadata.name} is not approved (spec.updatePolicy.approvedReleaseName)"
        return false(BindingConditionType.UP_TO_DATE, Reason.AWAITING_APPROVAL, message)
    message = f"release {current.release_name} is the newest eligible one"
    return true(BindingConditionType.UP_TO_DATE, Reason.NEWEST_RELEASE, message)


def _upgrading(outlook: Outlook, name: str) -> Wanted:
    kind, binding = BindingConditionType.UP_TO_DATE, outlook.binding
    candidate = binding.status.candidate
    if candidate is not None and candidate.release_name == name:
        if candidate.adapter is not None and not awaits_better(binding, candidate):
            return _awaiting(outlook, name)
        reason = parse_reason(candidate.reason)
        if reason is not None:
            return false(kind, reason, candidate.message or "")
    if outlook.waiting is not None:
        return false(kind, outlook.waiting.reason, outlook.waiting.message)
    return false(kind, Reason.QUEUED, f"the re-adaptation to release {name} is about to start")


def _awaiting(outlook: Outlook, release_name: str) -> Wanted:
    """Say why a pair for `release_name` that may be served is not promoted yet."""
    told = _server_wide(outlook.place, release_name) or _braked(outlook, release_name)
    told = told or _in_between(outlook, release_name)
    if told is None:
        told = Refusal(Reason.AWAITING_SERVER, f"the pair for {release_name} is not rolled out yet")
    return false(BindingConditionType.UP_TO_DATE, told.reason, told.message)


def _server_wide(place: Seat | None, release_name: str) -> Refusal | None:
    if place is None or place.refusal is not None:
        return place.refusal if place is not None else None
    if release_name in place.rolled_back or place.suspended is None:
        return place.rolled_back.get(release_name)
    arriving = place.arriving is not None and place.arriving.release == release_name
    return None if arriving else place.suspended


def _braked(outlook: Outlook, release_name: str) -> Refusal | None:
    """Explain a newer release that is held back: what is under way to it goes on, and so does what is on it."""
    place, release = outlook.place, outlook.chain.known.get(release_name)
    arriving = place.arriving.release if place is not None and place.arriving is not None else None
    if release is None or release_name in {arriving, place.promoted_release if place is not None else None}:
        return None
    return brake_of(release, outlook.binding, place)


def _in_between(outlook: Outlook, release_name: str) -> Refusal | None:
    """Explain a server that is on another release than the pair."""
    place, release = outlook.place, outlook.chain.known.get(release_name)
    if place is None or release is None or place.promoted_release in {None, release_name}:
        return None
    if any(later.metadata.name == place.promoted_release for later in outlook.chain.after(release_name, None)):
        if outlook.chain.withdrawn(place.promoted_release):
            return _on_the_way_back(outlook, place, release_name)
        message = f"the server serves release {place.promoted_release}, in which the binding takes no part"
        return Refusal(Reason.BASE_SKEW, message)
    members = blocks(place.members, release, outlook.chain, outlook.namespaces, outlook.profiles)
    final = [block.binding for block in members if block.final]
    names = {binding_key(member.binding): member.served_name for member in place.members}
    stuck = [binding for binding in final if names[binding_key(binding)] not in place.may_stay]
    if not stuck:
        late = ", or without those that have not when their time is over" if place.may_stay else ""
        return Refusal(
            Reason.AWAITING_SERVER, f"the server moves to {release_name} when all its bindings have passed{late}"
        )
    named = _named(outlook, stuck)
    return Refusal(Reason.SERVER_BLOCKED, f"the server cannot move to {release_name}: {named} did not pass")


def _on_the_way_back(outlook: Outlook, place: Seat, release_name: str) -> Refusal:
    """Explain a server that is still on a withdrawn release."""
    served = [member.binding for member in place.members if member.binding.status.current is not None]
    stuck = [binding for binding in served if offer(binding, release_name, outlook.chain) is None]
    if stuck:
        message = f"the server cannot go back to {release_name}: {_named(outlook, stuck)} has no pair for it"
        return Refusal(Reason.RELEASE_WITHDRAWN, message)
    return Refusal(Reason.AWAITING_SERVER, f"the server goes back to {release_name}")


def _named(outlook: Outlook, bindings: Sequence[AdapterBinding]) -> str:
    """Name up to three bindings; names in other namespaces are the server owner's to see."""
    own = outlook.binding.metadata.namespace
    return ", ".join(
        binding.metadata.name if binding.metadata.namespace == own else "a binding of another namespace"
        for binding in bindings[:3]
    )


def _of_use(outlook: Outlook) -> Candidate | None:
    """Return the candidate when it is for the release that the binding is on, or is carried to."""
    candidate, current = outlook.binding.status.candidate, outlook.binding.status.current
    if candidate is None:
        return None
    wanted = outlook.target.metadata.name if outlook.target else current.release_name if current else None
    return candidate if candidate.release_name == wanted else None


def _adapted(outlook: Outlook, up_to_date: Wanted) -> Wanted:
    kind, candidate = BindingConditionType.ADAPTED, _of_use(outlook)
    if candidate is not None and candidate.adapter is not None:
        return true(kind, Reason.GATE_PASSED, f"an adapter for release {candidate.release_name} passed its gate")
    if outlook.target is not None or outlook.start is None:
        return false(kind, up_to_date.reason, up_to_date.message)
    if outlook.start.adapter.digest == outlook.binding.spec.source.digest:
        return true(kind, Reason.SOURCE_PINNED, f"spec.source pins an adapter for release {outlook.start.release}")
    return true(kind, Reason.NEWEST_RELEASE, f"the adapter was made for release {outlook.start.release}")


def _evaluated(outlook: Outlook, up_to_date: Wanted) -> Wanted:
    kind, candidate = BindingConditionType.EVALUATED, _of_use(outlook)
    if candidate is not None and candidate.adapter is not None:
        return true(kind, Reason.GATE_PASSED, "the gate passed")
    judged = [
        step
        for step in (candidate.steps if candidate else [])
        if step.verdict is not None and step.outcome is StepOutcome.SUCCEEDED
    ]
    if judged and judged[-1].verdict is not None:
        step = judged[-1]
        return true(kind, _VERDICT_REASONS[judged[-1].verdict], f"step {step.name}: gate {step.verdict}")
    if outlook.target is not None or outlook.start is None:
        return false(kind, up_to_date.reason, up_to_date.message)
    if outlook.start.adapter.digest == outlook.binding.spec.source.digest:
        return false(kind, Reason.SOURCE_PINNED, "the adapter is pinned by spec.source and was not evaluated here")
    return true(kind, Reason.GATE_PASSED, f"the gate passed on release {outlook.start.release}")


def _stalled(ready: Wanted, up_to_date: Wanted, policy: UpdatePolicy) -> Wanted | None:
    """Return what only a person can resolve.

    While the old pair serves, a failed upgrade is no such thing, unless the owner wants it to be, and what keeps the
    whole server from moving is for its owner to resolve: the server's own condition Stalled says so.
    """
    if ready.status != "True":
        return ready if REGISTRY[ready.reason].to_repair else None
    if up_to_date.reason in SERVER_WIDE:
        return None
    entry = REGISTRY[up_to_date.reason]
    failed = entry.blame is Blame.RELEASE and up_to_date.reason is not Reason.RELEASE_HALTED
    degraded = failed and policy.on_failure is OnFailure.DEGRADE
    return up_to_date if entry.terminal and (entry.blame is Blame.OWNER or degraded) else None

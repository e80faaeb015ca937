"""Whether there is anything to try again.

What a new value of the annotation does is decided in `core/attempts.py` for re-adaptations and deltas, and in
`core/rollout.py` for roll-outs.
"""

from relora_contract.api.attempts import Attempts
from relora_contract.api.binding import AdapterBinding, BindingConditionType
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_kubectl.advice import remedy_of
from relora_operator.core.attempts import active, retry_request
from relora_operator.core.conditions import reason_of
from relora_operator.core.reasons import REGISTRY, Reason
from relora_operator.core.steps import done
from relora_operator.core.times import moment


class NothingToRetryError(Exception):
    """A retry would change nothing; the message says why, and what would."""


def retried(one: BaseModelRelease | AdapterBinding | AdapterServer) -> str:
    """Return what a retry of the object starts again, as a sentence.

    Raises:
        NothingToRetryError: There is nothing.
    """
    match one:
        case BaseModelRelease():
            return _deltas(one)
        case AdapterBinding():
            return _readaptation(one)
        case AdapterServer():
            return _rollout(one)


def _readaptation(binding: AdapterBinding) -> str:
    candidate = binding.status.candidate
    told = reason_of(binding.status.conditions, BindingConditionType.UP_TO_DATE)
    if candidate is None:
        raise NothingToRetryError(f"no re-adaptation was started{_because(told)}")
    if active(candidate):
        raise NothingToRetryError(f"attempt {candidate.attempt} for release {candidate.release_name} is under way")
    if candidate.adapter is not None:
        raise NothingToRetryError(
            f"an adapter for release {candidate.release_name} has passed its gate{_because(told)}"
        )
    if candidate.end_time is None:
        raise NothingToRetryError(f"attempt {candidate.attempt} has not started{_because(told)}")
    if all(done(step) for step in candidate.steps):
        raise NothingToRetryError(f"every step has ended, and finished steps are not repeated{_because(told)}")
    _must_be_new(retry_request(binding.metadata), candidate)
    why = candidate.reason or "an attempt failed, and the next one waits its turn"
    return f"the re-adaptation to release {candidate.release_name} starts again ({why})"


def _must_be_new(requested: str | None, record: Attempts) -> None:
    if requested is not None and requested != record.retry_requested_at:
        raise NothingToRetryError("a retry was asked for already, and the operator has not come to it yet")


def _because(told: Reason | None) -> str:
    """Explain by the condition UpToDate what is waited for instead."""
    if told is None:
        return ""
    remedy = remedy_of(told)
    return f"; {told}: {REGISTRY[told].meaning}{f' {remedy}' if remedy else ''}"


def _rollout(server: AdapterServer) -> str:
    candidate, beside = server.status.candidate, server.status.fallback
    failed = [*server.status.rolled_back, *(beside.rolled_back if beside is not None else [])]
    if candidate is not None:
        raise NothingToRetryError(f"a roll-out of the set on release {candidate.release_name} is under way")
    if not failed:
        raise NothingToRetryError("no set was rolled back")
    requested = retry_request(server.metadata)
    if requested is not None and all(one.retry_requested_at != requested for one in failed):
        raise NothingToRetryError("a retry was asked for already, and the operator has not come to it yet")
    last = max(failed, key=lambda one: moment(one.time))
    return f"the set on release {last.release_name} is rolled out again ({last.message or 'RolledBack'})"


def _deltas(release: BaseModelRelease) -> str:
    waiting = [delta for delta in release.status.deltas if delta.digest is None]
    ended = [delta for delta in waiting if delta.end_time is not None]
    if not ended:
        busy = ", ".join(delta.source_release_name for delta in waiting)
        state = f"the delta from {busy} is under way" if waiting else "no delta failed"
        hint = "; bindings and servers are tried again one by one: kubectl relora retry adb/NAME"
        raise NothingToRetryError(f"{state}{hint if release.status.failure_samples else ''}")
    for delta in ended:
        _must_be_new(retry_request(release.metadata), delta)
    return f"the delta from {', '.join(delta.source_release_name for delta in ended)} is made again"

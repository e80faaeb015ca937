"""One roll-out at a time: begin, watch to the end, or put the previous set back."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from relora_contract.api.server import AdapterServer, CandidateSet, RolledBackSet, ServedSet
from relora_contract.serving import ServingSet
from relora_contract.wellknown import SERVING_SET_LIMIT_BYTES
from relora_operator.core.attempts import retry_request
from relora_operator.core.lineage import Refusal
from relora_operator.core.observed import TargetView
from relora_operator.core.reasons import Reason
from relora_operator.core.times import moment, seconds_between, timestamp

LOOK_EVERY_SECONDS = 10
"""Pods that do not get ready send no event of their own: a roll-out under way is looked at this often."""
MESSAGE_LIMIT = 1024
MOST_ROLLED_BACK = 8
MOST_REVERTS = 3
REVERT_SECONDS = 600
LONGEST_WAIT_SECONDS = 86_400
"""Time without a node for the new pod, or with a paused workload, that does not count as roll-out time."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """The sets of a server, and what is to be written to its target."""

    current: ServedSet | None
    previous: ServedSet | None
    candidate: CandidateSet | None
    rolled_back: tuple[RolledBackSet, ...] = ()
    reverts: tuple[str, ...] = ()
    """When the set was last found removed from the target."""
    apply: ServingSet | None = None
    problem: Refusal | None = None
    """Why a set cannot be written, or why its roll-out does not end."""
    look_again_at: datetime | None = None

    def applying(self, wanted: ServingSet, target: TargetView) -> "Rollout":
        """Write a set, unless another manager owns the annotations."""
        if target.other_managers:
            managers = ", ".join(target.other_managers)
            return replace(
                self,
                problem=Refusal(
                    Reason.FIELD_CONFLICT,
                    f"{managers} owns the annotation relora.dev/serving-set of Deployment {target.name}",
                ),
            )
        return replace(self, apply=wanted)


def recorded(server: AdapterServer) -> Rollout:
    """Return the sets as the status has them; a retry that was asked for forgets the sets that failed before."""
    status, requested = server.status, retry_request(server.metadata)
    return Rollout(
        current=status.current,
        previous=status.previous,
        candidate=status.candidate,
        reverts=tuple(status.reverts),
        rolled_back=tuple(
            failed for failed in status.rolled_back if requested is None or failed.retry_requested_at == requested
        ),
    )


def begun(rollout: Rollout, wanted: ServingSet, server: AdapterServer, target: TargetView, now: datetime) -> Rollout:
    """Begin the roll-out of a set."""
    size = len(wanted.to_annotation().encode())
    if size > SERVING_SET_LIMIT_BYTES:
        message = f"the set has {size} bytes, more than the {SERVING_SET_LIMIT_BYTES} of an annotation"
        return replace(rollout, problem=Refusal(Reason.SET_TOO_LARGE, message))
    started = rollout.applying(wanted, target)
    if started.apply is None:
        return started
    candidate = CandidateSet(
        release_name=wanted.release,
        set_digest=wanted.digest,
        adapters=len(wanted.adapters),
        start_time=timestamp(now),
        state="RollingOut",
        retry_requested_at=retry_request(server.metadata),
    )
    return replace(started, candidate=candidate)


def promoted(rollout: Rollout, candidate: CandidateSet, now: datetime) -> Rollout:
    """Make the candidate the current set: every pod of the target serves it."""
    served = ServedSet(
        release_name=candidate.release_name,
        set_digest=candidate.set_digest,
        adapters=candidate.adapters,
        promoted_time=timestamp(now),
    )
    same = rollout.current is not None and rollout.current.set_digest == served.set_digest
    if same:
        return replace(rollout, candidate=None)
    return replace(rollout, current=served, previous=rollout.current, candidate=None)


def watched(
    rollout: Rollout,
    candidate: CandidateSet,
    server: AdapterServer,
    target: TargetView,
    now: datetime,
) -> tuple[Rollout, bool]:
    """Keep the time of a roll-out under way. Return it, and whether its time is up."""
    candidate = _clocked(candidate, target, now)
    left = _seconds_left(candidate, server.spec.effective_progress_deadline_seconds, now)
    why = (target.failing or target.unschedulable or ("the workload is paused" if target.paused else ""))[
        :MESSAGE_LIMIT
    ]
    if left > 0:
        return (
            replace(
                rollout,
                candidate=candidate.model_copy(update={"message": why or None}),
                look_again_at=now + timedelta(seconds=min(left, LOOK_EVERY_SECONDS)),
            ),
            False,
        )
    message = f"not rolled out within {server.spec.effective_progress_deadline_seconds} s: {why or _counts(target)}"
    return replace(rollout, candidate=candidate.model_copy(update={"message": message[:MESSAGE_LIMIT]})), True


def _counts(target: TargetView) -> str:
    return f"{target.updated_replicas} of {target.replicas} pods are new, {target.available_replicas} are available"


def _clocked(candidate: CandidateSet, target: TargetView, now: datetime) -> CandidateSet:
    """Stop the clock while the newest pod finds no node or the workload is paused; start it again after."""
    waiting = target.unschedulable is not None or target.paused
    if waiting and candidate.waiting_since is None:
        return candidate.model_copy(update={"waiting_since": timestamp(now)})
    if not waiting and candidate.waiting_since is not None:
        waited = candidate.waited_seconds + int(seconds_between(candidate.waiting_since, now))
        return candidate.model_copy(update={"waiting_since": None, "waited_seconds": waited})
    return candidate


def _seconds_left(candidate: CandidateSet, deadline_seconds: int, now: datetime) -> float:
    """Return after how many seconds the roll-out's time is up if nothing changes."""
    waiting = seconds_between(candidate.waiting_since, now) if candidate.waiting_since is not None else 0.0
    uncounted = min(candidate.waited_seconds + waiting, float(LONGEST_WAIT_SECONDS))
    left = deadline_seconds - ((now - moment(candidate.start_time)).total_seconds() - uncounted)
    if candidate.waiting_since is not None:
        left += LONGEST_WAIT_SECONDS - uncounted
    return left


def rolling_back(rollout: Rollout, candidate: CandidateSet, now: datetime) -> Rollout:
    """Give up the candidate; the previous set is put back, with a clock of its own."""
    update = {"state": "RollingBack", "start_time": timestamp(now), "waiting_since": None, "waited_seconds": 0}
    return replace(rollout, candidate=candidate.model_copy(update=update), look_again_at=None)


def returning_to(rollout: Rollout, before: ServingSet) -> Rollout:
    """Make a set what is current: the one to put back. It may have lost members that left meanwhile."""
    current = rollout.current
    if current is None or current.set_digest == before.digest:
        return rollout
    update = {"set_digest": before.digest, "adapters": len(before.adapters)}
    return replace(rollout, current=current.model_copy(update=update))


def reverted(before: Rollout, again: Rollout, target: TargetView, now: datetime) -> Rollout:
    """Count that the target lost its set, and put it back; whoever removes it again and again is not fought."""
    since = now - timedelta(seconds=REVERT_SECONDS)
    recent = [time for time in before.reverts if moment(time) > since]
    if len(recent) < MOST_REVERTS:
        return replace(again, reverts=(*before.reverts, timestamp(now))[-MOST_REVERTS:])
    message = (
        f"the annotation relora.dev/serving-set of Deployment {target.name} was removed {MOST_REVERTS} times "
        f"within {REVERT_SECONDS // 60} minutes"
    )
    return replace(
        before,
        problem=Refusal(Reason.FIELD_CONFLICT, message),
        look_again_at=moment(recent[0]) + timedelta(seconds=REVERT_SECONDS),
    )


def rolled_back(rollout: Rollout, candidate: CandidateSet, now: datetime) -> Rollout:
    """Record that the previous set serves again."""
    failed = RolledBackSet(
        release_name=candidate.release_name,
        set_digest=candidate.set_digest,
        time=timestamp(now),
        message=candidate.message,
        retry_requested_at=candidate.retry_requested_at,
    )
    others = [earlier for earlier in rollout.rolled_back if earlier.set_digest != failed.set_digest]
    return replace(
        rollout,
        candidate=None,
        rolled_back=(*others, failed)[-MOST_ROLLED_BACK:],
        look_again_at=None,
    )

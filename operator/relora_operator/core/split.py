"""Moving without the members that did not pass in time: they stay on their base, on the fallback target.

The fallback target serves a name, seen Available, before the main one gives it up, and gives it up after the main one
serves it again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer, FallbackSet, NextRelease
from relora_contract.serving import ServingSet
from relora_operator.core.brakes import brake
from relora_operator.core.fallback import fallback_target_name, second
from relora_operator.core.lineage import Chain, Refusal
from relora_operator.core.observed import TargetView
from relora_operator.core.pairs import offer
from relora_operator.core.reasons import Reason
from relora_operator.core.rollout import Rollout, recorded
from relora_operator.core.server_plan import Position, Situation, advanced, newer_releases
from relora_operator.core.serving import FALLBACK_FIELD, target_refusal
from relora_operator.core.serving_sets import live_set
from relora_operator.core.times import moment, timestamp

NOTHING = Rollout(current=None, previous=None, candidate=None)


@dataclass(frozen=True, kw_only=True)
class Fallback:
    """The members that stay behind, and what is to be written for them."""

    record: FallbackSet | None = None
    rollout: Rollout = NOTHING
    """The sets of the fallback target."""
    problem: Refusal | None = None
    """Why it does not serve what it is to serve."""
    split_to: str | None = None
    """The release to which the main target may move: the fallback target serves everybody who did not pass."""
    left: bool = False
    """The main target has moved, or is moving, away from them."""

    @property
    def under_way(self) -> bool:
        """Whether a set is being rolled out to the fallback target, and may end well."""
        return self.rollout.candidate is not None and self.problem is None


def next_release(
    server: AdapterServer, newest: BaseModelRelease | None, held: Refusal | None, now: datetime
) -> NextRelease | None:
    """Return the release to which the server is to move, from when it was the newest and nothing held it back."""
    known = server.status.next
    if newest is None or (known is not None and known.release_name == newest.metadata.name):
        return known if newest is not None else None
    return NextRelease(release_name=newest.metadata.name, start_time=timestamp(now)) if held is None else None


def overdue_at(server: AdapterServer, following: NextRelease | None) -> datetime | None:
    """Return when the time of the members is over that have not passed."""
    if following is None:
        return None
    return moment(following.start_time) + timedelta(seconds=server.spec.effective_upgrade.effective_deadline_seconds)


def stood_by(position: Position, rollout: Rollout, *, writable: bool) -> Fallback:
    """Carry the fallback target on.

    Args:
        position: The server.
        rollout: The sets of the main target.
        writable: Whether the main target can be written to: else it moves nowhere.
    """
    server, record = position.snapshot.server, position.snapshot.server.status.fallback
    target_name, current = fallback_target_name(server), rollout.current
    if target_name is None or current is None:
        return Fallback()
    due = _overdue(position, rollout) if writable else None
    names = _staying(position, rollout, due)
    left = _leaving(rollout) or (record is not None and record.release_name != current.release_name)
    chosen = server.spec.effective_upgrade.fallback_target_ref
    other = record is not None and (chosen is None or chosen.name != record.target_name)
    if not names or (other and not left):
        return Fallback()
    record = record or FallbackSet(target_name=target_name, release_name=current.release_name)
    found = _carried_on(position, record, names, waits=rollout.candidate is not None)
    ready = _serving(found, position.snapshot.fallback)
    lagging = _lagging(position, names, due) if due is not None else names
    return _told(
        replace(
            found,
            record=_written(record, found.rollout, names if left or names <= ready else frozenset()),
            split_to=due.metadata.name if due is not None and lagging <= ready else None,
            left=left,
        ),
        position.snapshot.fallback,
        missing=names - ready,
        waits=rollout.candidate is not None,
    )


def _overdue(position: Position, rollout: Rollout) -> BaseModelRelease | None:
    """Return the release to which the server is to move without those that have not passed."""
    server = position.snapshot.server
    following, at = server.status.next, overdue_at(server, server.status.next)
    newest = next(iter(newer_releases(position.snapshot, position.chain, position.members)), None)
    if not server.spec.effective_upgrade.splits or server.spec.suspend or at is None or position.now < at:
        return None
    if newest is None or following is None or newest.metadata.name != following.release_name:
        return None
    name = newest.metadata.name
    failed = any(earlier.release_name == name for earlier in rollout.rolled_back)
    if failed or brake(newest, server.metadata.labels) is not None or position.wanted(name) is None:
        return None
    return newest


def _leaving(rollout: Rollout) -> bool:
    """Tell whether the main target is on its way to another base, or back."""
    current, candidate = rollout.current, rollout.candidate
    if current is None or candidate is None:
        return False
    return candidate.state == "RollingBack" or candidate.release_name != current.release_name


def _staying(position: Position, rollout: Rollout, due: BaseModelRelease | None) -> frozenset[str]:
    """Return what the fallback target is to serve."""
    record, current = position.snapshot.server.status.fallback, rollout.current
    kept = position.names & frozenset(record.served_names if record is not None else ())
    if current is None or _leaving(rollout):
        return kept
    promoted = position.live_digest == current.set_digest and rollout.candidate is None
    if record is not None and record.release_name != current.release_name:
        return kept - _held(position.live) if promoted else kept
    return _lagging(position, kept, due) if due is not None else frozenset()


def _lagging(position: Position, beside: frozenset[str], release: BaseModelRelease) -> frozenset[str]:
    """Return the names that are served, here or `beside`, of members without a pair for a release."""
    served, name = _held(position.live) | beside, release.metadata.name
    return frozenset(
        member.served_name
        for member in position.members
        if member.served_name in served and offer(member.binding, name, position.chain) is None
    )


def _held(live: ServingSet | None) -> frozenset[str]:
    return frozenset(adapter.name for adapter in live.adapters) if live is not None else frozenset()


def _carried_on(position: Position, record: FallbackSet, names: frozenset[str], *, waits: bool) -> Fallback:
    """Carry the roll-out of the fallback target on, or begin one when the main target has none."""
    view, target = second(position.snapshot.server, record), position.snapshot.fallback
    refusal, sets = target_refusal(view, target, FALLBACK_FIELD), recorded(view)
    if refusal is not None or target is None:
        return Fallback(rollout=sets, problem=refusal)
    situation = Situation(
        snapshot=replace(position.snapshot, server=view),
        target=target,
        chain=_until(position.chain, record.release_name),
        live=live_set(target),
        members=tuple(member for member in position.members if member.served_name in names),
        now=position.now,
        waits=waits,
    )
    sets = advanced(situation, sets)
    return Fallback(rollout=sets, problem=sets.problem)


def _until(order: Chain, name: str) -> Chain:
    """Return the chain up to a release: those who stay behind move to no newer one."""
    releases = (*reversed(order.before(name)), order.known[name]) if order.accepts(name) else ()
    return replace(order, releases=releases)


def _serving(found: Fallback, target: TargetView | None) -> frozenset[str]:
    """Return what the fallback target serves, seen Available."""
    current, live = found.rollout.current, live_set(target)
    if target is None or current is None or live is None or found.rollout.candidate is not None:
        return frozenset()
    available = target.rolled_out and target.available_replicas > 0 and live.digest == current.set_digest
    return _held(live) if available and found.problem is None else frozenset()


def _written(record: FallbackSet, sets: Rollout, served: frozenset[str]) -> FallbackSet | None:
    if sets.current is None and sets.candidate is None:
        return None
    return record.model_copy(
        update={
            "release_name": sets.current.release_name if sets.current is not None else record.release_name,
            "served_names": sorted(served),
            "current": sets.current,
            "candidate": sets.candidate,
            "rolled_back": list(sets.rolled_back),
            "reverts": list(sets.reverts),
        }
    )


def _told(found: Fallback, target: TargetView | None, *, missing: frozenset[str], waits: bool) -> Fallback:
    """Add why the fallback target does not serve what it is to serve, unless it is on its way there."""
    told, failed = found.problem.message if found.problem is not None else None, found.rollout.rolled_back
    if told is None and missing and found.rollout.candidate is None and not waits and target is not None:
        if target.available_replicas == 0:
            told = f"no pod of Deployment {target.name} is available; it has {target.replicas} replicas"
        elif failed:
            told = f"the set for Deployment {target.name} was taken back: {failed[-1].message}"
    if told is None:
        return found
    return replace(found, problem=Refusal(Reason.FALLBACK_UNAVAILABLE, told))

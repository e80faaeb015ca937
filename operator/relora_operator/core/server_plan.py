"""What a server's sets become: the next state of its roll-out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import CandidateSet, RolledBackSet, ServedSet
from relora_contract.serving import ServingSet
from relora_operator.core.blockers import Block, blocks
from relora_operator.core.brakes import brake
from relora_operator.core.eligibility import eligible
from relora_operator.core.lineage import Chain, Refusal
from relora_operator.core.membership import Member
from relora_operator.core.observed import TargetView
from relora_operator.core.reasons import Reason
from relora_operator.core.rollout import (
    Rollout,
    begun,
    promoted,
    returning_to,
    reverted,
    rolled_back,
    rolling_back,
    watched,
)
from relora_operator.core.serving_sets import drops_nobody, previous_set, settled, wanted_set
from relora_operator.core.snapshot import ServerSnapshot
from relora_operator.core.times import moment


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a server is: what its target has, and its members."""

    snapshot: ServerSnapshot
    chain: Chain
    live: ServingSet | None
    members: tuple[Member, ...]
    now: datetime

    @property
    def names(self) -> frozenset[str]:
        """The served names of the members."""
        return frozenset(member.served_name for member in self.members)

    def wanted(self, release_name: str) -> ServingSet | None:
        """Return the set of everything that members offer on a release."""
        return wanted_set(release_name, self.chain, self.live, self.members)

    @property
    def live_digest(self) -> str | None:
        """Digest of the set in the target's annotation."""
        return self.live.digest if self.live is not None else None


@dataclass(frozen=True, kw_only=True)
class Situation(Position):
    """A server whose target may be written to."""

    target: TargetView
    waits: bool = False
    """A set is on its way to the server's other target: here no other one begins."""
    split_to: str | None = None
    """The release to which it may move without the members that did not pass."""


def served_release(snapshot: ServerSnapshot) -> str:
    """Return the release that the server is on."""
    current = snapshot.server.status.current
    return current.release_name if current is not None else snapshot.server.spec.initial_release_name


def newer_releases(snapshot: ServerSnapshot, chain: Chain, members: tuple[Member, ...]) -> tuple[BaseModelRelease, ...]:
    """Return the releases to which the server could move, newest first: those in which a member takes part."""
    current = snapshot.server.status.current
    newer = chain.after(served_release(snapshot), current.promoted_time if current else None)
    return tuple(
        release
        for release in reversed(newer)
        if not release.spec.withdrawn and any(_takes_part(member, release, snapshot) for member in members)
    )


def _takes_part(member: Member, release: BaseModelRelease, snapshot: ServerSnapshot) -> bool:
    namespace = snapshot.namespaces.get(member.binding.metadata.namespace)
    return namespace is None or eligible(release, member.binding, namespace, snapshot.profiles)


def releases_to_return_to(snapshot: ServerSnapshot, chain: Chain) -> tuple[str, ...]:
    """Return the releases to go back to, the best first, when the one that is served was withdrawn."""
    served, previous = served_release(snapshot), snapshot.server.status.previous
    if not chain.withdrawn(served):
        return ()
    before = [previous.release_name] if previous is not None else []
    names = dict.fromkeys([*before, *(release.metadata.name for release in chain.before(served))])
    return tuple(name for name in names if name != served and not chain.withdrawn(name))


def set_to_return_to(
    snapshot: ServerSnapshot, chain: Chain, live: ServingSet | None, members: tuple[Member, ...]
) -> ServingSet | None:
    """Return the set to go back to from a withdrawn release: everybody who is served is in it."""
    if snapshot.server.status.current is None:
        return None
    for name in releases_to_return_to(snapshot, chain):
        back = wanted_set(name, chain, live, members)
        if back is not None and drops_nobody(back, live, members):
            return back
    return None


def blocks_of(
    snapshot: ServerSnapshot, chain: Chain, members: tuple[Member, ...], release: BaseModelRelease
) -> tuple[Block, ...]:
    """Return the members that keep the server from moving to a release."""
    return blocks(members, release, chain, snapshot.namespaces, snapshot.profiles)


def release_to_move_to(
    snapshot: ServerSnapshot,
    chain: Chain,
    members: tuple[Member, ...],
    rolled_back: Iterable[RolledBackSet],
    *,
    split_to: str | None = None,
) -> str | None:
    """Return the newest release to which the server may move now: all members have passed, and nothing holds it back.

    It comes before any earlier one, also where the release that is served was withdrawn. What was rolled back once is
    not tried again. `split_to` is the release to which it moves without those who did not pass in time.
    """
    failed = {earlier.release_name for earlier in rolled_back}
    for release in newer_releases(snapshot, chain, members):
        held = brake(release, snapshot.server.metadata.labels)
        if release.metadata.name in failed or held is not None:
            continue
        if release.metadata.name == split_to or not blocks_of(snapshot, chain, members, release):
            return release.metadata.name
    return None


def advanced(situation: Situation, rollout: Rollout) -> Rollout:
    """Carry the roll-out under way on, or begin one when none is."""
    candidate = rollout.candidate
    if candidate is not None and candidate.state == "RollingOut":
        return _rolling_out(situation, rollout, candidate)
    if candidate is not None and candidate.state == "RollingBack":
        return _rolling_back(situation, rollout, candidate)
    return _idle(situation, rollout)


def _rolling_out(situation: Situation, rollout: Rollout, candidate: CandidateSet) -> Rollout:
    if situation.live_digest != candidate.set_digest:
        wanted = None if _taken_back(situation, rollout, candidate) else situation.wanted(candidate.release_name)
        promoted_digest = rollout.current.set_digest if rollout.current is not None else None
        if situation.live_digest == promoted_digest and wanted is not None and wanted.digest == candidate.set_digest:
            return rollout.applying(wanted, situation.target)
        # Its members have moved on before it reached the target, or the target was created anew.
        return _idle(situation, replace(rollout, candidate=None))
    if situation.target.rolled_out:
        return promoted(rollout, candidate, situation.now)
    if _taken_back(situation, rollout, candidate):
        message = f"release {candidate.release_name} is withdrawn"
        return _given_up(situation, rollout, candidate.model_copy(update={"message": message}))
    rollout, time_is_up = watched(rollout, candidate, situation.snapshot.server, situation.target, situation.now)
    if not time_is_up or rollout.candidate is None:
        return rollout
    return _given_up(situation, rollout, rollout.candidate)


def _given_up(situation: Situation, rollout: Rollout, candidate: CandidateSet) -> Rollout:
    """Put the previous set back; without one the candidate stays until it gets ready or is corrected."""
    before = previous_set(situation.snapshot.server, situation.chain, situation.members)
    restoring = rollout.current is not None and rollout.current.set_digest == candidate.set_digest
    if before is not None and not restoring:
        back = rolling_back(rollout, candidate, situation.now)
        return returning_to(back, before).applying(before, situation.target)
    failed = replace(rollout, problem=Refusal(Reason.ROLLOUT_FAILED, candidate.message or ""))
    return _corrected(situation, failed, candidate)


def _taken_back(situation: Situation, rollout: Rollout, candidate: CandidateSet) -> bool:
    """Tell whether the set under way is the first one of a release that was withdrawn meanwhile."""
    first = rollout.current is not None and rollout.current.release_name != candidate.release_name
    return first and situation.chain.withdrawn(candidate.release_name)


def _corrected(situation: Situation, rollout: Rollout, candidate: CandidateSet) -> Rollout:
    """Let a corrected set take the place of one that never got ready, where there is none to go back to."""
    wanted = situation.wanted(candidate.release_name)
    if situation.snapshot.server.spec.suspend or wanted is None or wanted.digest == candidate.set_digest:
        return rollout
    fresh = replace(returning_to(rollout, wanted), problem=None)
    return begun(fresh, wanted, situation.snapshot.server, situation.target, situation.now)


def _rolling_back(situation: Situation, rollout: Rollout, candidate: CandidateSet) -> Rollout:
    before = previous_set(situation.snapshot.server, situation.chain, situation.members)
    if before is None:
        return rolled_back(rollout, candidate, situation.now)
    if situation.live_digest == candidate.set_digest and situation.target.rolled_out:
        # It got ready after all before it was taken back: the pods of the previous set are gone.
        return promoted(rollout, candidate, situation.now)
    under_way = {candidate.set_digest, before.digest, rollout.current.set_digest if rollout.current else None}
    if situation.live_digest not in under_way:
        # The target was created anew: what serves there begins from nothing.
        return _idle(situation, rolled_back(rollout, candidate, situation.now))
    if situation.live_digest != before.digest:
        return returning_to(rollout, before).applying(before, situation.target)
    if situation.target.rolled_out:
        return rolled_back(rollout, candidate, situation.now)
    watching, time_is_up = watched(rollout, candidate, situation.snapshot.server, situation.target, situation.now)
    # The message stays the one of the failure that caused the return.
    kept = watching.candidate.model_copy(update={"message": candidate.message}) if watching.candidate else None
    problem = Refusal(Reason.ROLLOUT_FAILED, "the previous set does not get ready either") if time_is_up else None
    return replace(watching, candidate=kept, problem=problem)


def _idle(situation: Situation, rollout: Rollout) -> Rollout:
    """Begin the next roll-out, if there is one."""
    current = rollout.current
    if current is not None and situation.live_digest != current.set_digest:
        lost = _lost_set(situation, rollout, current)
        if lost is None:
            return rollout
        again = begun(returning_to(rollout, lost), lost, situation.snapshot.server, situation.target, situation.now)
        if again.apply is None or situation.target.unapplied == lost.digest:  # nobody removed what was never there
            return again
        return reverted(rollout, again, situation.target, situation.now)
    wanted = _next_set(situation, rollout)
    if wanted is None or (current is not None and current.set_digest == wanted.digest):
        return rollout
    earliest = _earliest(situation, current, wanted)
    if earliest is not None and situation.now < earliest:
        return replace(rollout, look_again_at=earliest)
    return begun(rollout, wanted, situation.snapshot.server, situation.target, situation.now)


def _earliest(situation: Situation, current: ServedSet | None, wanted: ServingSet) -> datetime | None:
    """Return when a set may come that only adds members to the present one, or brings better revisions."""
    seconds = situation.snapshot.server.spec.effective_upgrade.min_interval_seconds
    if seconds is None or current is None or current.promoted_time is None or wanted.release != current.release_name:
        return None
    kept = {adapter.name for adapter in wanted.adapters}
    if situation.live is not None and any(adapter.name not in kept for adapter in situation.live.adapters):
        return None
    return moment(current.promoted_time) + timedelta(seconds=seconds)


def _lost_set(situation: Situation, rollout: Rollout, current: ServedSet) -> ServingSet | None:
    """Return what to put back on a target that was created anew or lost its annotation."""
    before = previous_set(situation.snapshot.server, situation.chain, situation.members)
    if before is not None and before.digest == current.set_digest:
        return before
    return _untried(situation.wanted(current.release_name), rollout) or before


def _next_set(situation: Situation, rollout: Rollout) -> ServingSet | None:
    """Return the set that is wanted: on the newest base that all members have, else on the present one."""
    if situation.snapshot.server.spec.suspend or situation.waits:
        return None
    if situation.live is not None and rollout.current is not None and not settled(situation.live, situation.members):
        return None
    same_base = _same_base(situation, rollout)
    upgrade = _upgrade(situation, rollout)
    # A first set comes on the release that the workload is on, so that there is one to go back to.
    if rollout.current is None:
        return same_base or upgrade
    back = set_to_return_to(situation.snapshot, situation.chain, situation.live, situation.members)
    return upgrade or _untried(back, rollout) or same_base


def _same_base(situation: Situation, rollout: Rollout) -> ServingSet | None:
    """Return what the members offer on the present base, unless somebody would be dropped."""
    release, live, members = served_release(situation.snapshot), situation.live, situation.members
    if live is not None and situation.chain.withdrawn(release):
        # Nobody joins a base that is to be left.
        served = {adapter.name for adapter in live.adapters}
        members = tuple(member for member in members if member.served_name in served)
    wanted = _untried(wanted_set(release, situation.chain, live, members), rollout)
    return wanted if wanted is not None and drops_nobody(wanted, live, situation.members) else None


def _untried(wanted: ServingSet | None, rollout: Rollout) -> ServingSet | None:
    failed = {earlier.set_digest for earlier in rollout.rolled_back}
    return wanted if wanted is not None and wanted.digest not in failed else None


def _upgrade(situation: Situation, rollout: Rollout) -> ServingSet | None:
    name = release_to_move_to(
        situation.snapshot, situation.chain, situation.members, rollout.rolled_back, split_to=situation.split_to
    )
    return situation.wanted(name) if name is not None else None

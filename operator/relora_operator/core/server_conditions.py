"""The conditions of a server."""

from dataclasses import dataclass

from relora_contract.api.server import ServerConditionType
from relora_operator.core.blockers import Block
from relora_operator.core.conditions import Wanted, false, true
from relora_operator.core.lineage import Refusal
from relora_operator.core.reasons import REGISTRY, Blame, Reason
from relora_operator.core.rollout import Rollout
from relora_operator.core.split import Fallback


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the conditions tell of."""

    rollout: Rollout
    fallback: Fallback
    refusal: Refusal | None
    """Why the target cannot be written to."""
    suspended: Refusal | None
    """Why no roll-out begins."""
    withdrawn: Refusal | None
    """Why the server is still on a withdrawn release."""
    live_digest: str | None
    beside_digest: str | None
    """Digest of the set in the annotation of the fallback target."""
    wanted_digest: str | None
    """Digest of what the members offer on the present base."""
    held: Refusal | None
    """What holds the newest release back."""
    members: int
    newest: str | None
    """The newest release to which the server could move; None when it is on the newest."""
    overdue: bool
    """Whether the time of those is over that have not passed on it."""
    blocks: tuple[Block, ...]
    """The members that keep it from there, or that did not follow it to the release that it serves."""


def conditions(report: Report) -> list[Wanted]:
    """Return the wanted conditions; Reconciling and Stalled only while they hold."""
    up_to_date = _up_to_date(report)
    ready = _ready(report, up_to_date)
    wanted = [ready, up_to_date]
    stalled = _stalled(ready, up_to_date)
    if stalled is not None:
        wanted.append(true(ServerConditionType.STALLED, stalled.reason, stalled.message))
    elif ready.status != "True":
        wanted.append(true(ServerConditionType.RECONCILING, ready.reason, ready.message))
    return wanted


def _serves(rollout: Rollout, live_digest: str | None) -> bool:
    """Tell whether the promoted set serves: alone, or beside the one that is rolled out or taken back."""
    current, candidate = rollout.current, rollout.candidate
    if current is None:
        return False
    restoring = candidate is not None and candidate.set_digest == current.set_digest
    if live_digest == current.set_digest:
        return not restoring
    return candidate is not None and not restoring and live_digest == candidate.set_digest


def _ready(report: Report, up_to_date: Wanted) -> Wanted:
    kind, current = ServerConditionType.READY, report.rollout.current
    if report.refusal is not None:
        return false(kind, report.refusal.reason, report.refusal.message)
    if current is not None and _serves(report.rollout, report.live_digest):
        if report.fallback.left and not _serves(report.fallback.rollout, report.beside_digest):
            told = report.fallback.problem or _beside(report.fallback)
            return false(kind, told.reason, told.message)
        return true(kind, Reason.PROMOTED, f"{current.adapters} adapters on release {current.release_name}")
    if current is None and up_to_date.reason is Reason.NO_BINDINGS:
        return true(kind, Reason.NO_BINDINGS, up_to_date.message)  # nothing is asked of it: no one waits for a set
    if up_to_date.status == "True":
        return false(kind, Reason.ROLLING_OUT, "the set is not on the target")
    return false(kind, up_to_date.reason, up_to_date.message)


def _up_to_date(report: Report) -> Wanted:
    kind = ServerConditionType.UP_TO_DATE
    told = report.refusal or report.rollout.problem or _under_way(report.rollout) or report.fallback.problem
    told = told or (_beside(report.fallback) if report.fallback.under_way else _held_up(report))
    if told is not None:
        return false(kind, told.reason, told.message)
    current = report.rollout.current
    if report.members == 0:
        return true(kind, Reason.NO_BINDINGS, "no binding that is admitted names the server")
    if current is None:
        return false(kind, Reason.AWAITING_BINDINGS, "no binding has an adapter for the server's release yet")
    return true(kind, Reason.NEWEST_RELEASE, f"on release {current.release_name}")


def _under_way(rollout: Rollout) -> Refusal | None:
    candidate = rollout.candidate
    if candidate is None:
        return None
    why = f": {candidate.message}" if candidate.message else ""
    if candidate.state == "RollingBack":
        return Refusal(Reason.ROLLING_BACK, f"the set on release {candidate.release_name} is taken back{why}")
    return Refusal(
        Reason.ROLLING_OUT, f"{candidate.adapters} adapters on release {candidate.release_name} are rolled out{why}"
    )


def _beside(fallback: Fallback) -> Refusal:
    """Tell what goes on at the fallback target."""
    name = fallback.record.target_name if fallback.record is not None else ""
    told = _under_way(fallback.rollout) or Refusal(Reason.ROLLING_OUT, "its set is not there")
    return Refusal(told.reason, f"Deployment {name}, for those who stay behind: {told.message}")


def _held_up(report: Report) -> Refusal | None:
    """Explain why the server is not on the newest release, or not on the newest set of its own."""
    for failed in reversed(report.rollout.rolled_back):
        if failed.release_name == report.newest or failed.set_digest == report.wanted_digest:
            return Refusal(Reason.ROLLED_BACK, f"the set on release {failed.release_name}: {failed.message}")
    if report.suspended is not None and _would_move(report):
        return report.suspended
    if report.withdrawn is not None or report.held is not None:
        return report.withdrawn or report.held
    named = ", ".join(
        f"{block.binding.metadata.namespace}/{block.binding.metadata.name} ({block.reason})"
        for block in report.blocks[:3]
    )
    if report.blocks and report.newest is not None:
        message = f"release {report.newest}: {len(report.blocks)} not passed, such as {named}"
        return Refusal(Reason.UPGRADE_OVERDUE if report.overdue else Reason.AWAITING_BINDINGS, message)
    record = report.fallback.record
    if record is not None and record.served_names:
        stayed = f"{len(record.served_names)} adapters stay on release {record.release_name}"
        return Refusal(Reason.SPLIT, f"{stayed} on Deployment {record.target_name}{f': {named}' if named else ''}")
    return None


def _would_move(report: Report) -> bool:
    """Tell whether there is another set than the promoted one, or a newer release."""
    current = report.rollout.current
    promoted = current.set_digest if current is not None else None
    return report.newest is not None or report.wanted_digest not in {None, promoted}


def _stalled(ready: Wanted, up_to_date: Wanted) -> Wanted | None:
    for condition in (ready, up_to_date):
        entry = REGISTRY[condition.reason]
        if condition.status != "True" and entry.to_repair and (condition is ready or entry.blame is Blame.OWNER):
            return condition
    return None

"""The view of a plan in words."""

from collections.abc import Sequence

from relora_contract.api.server import AdapterServer
from relora_kubectl.advice import remedies
from relora_kubectl.halts import Budget, Canaries
from relora_kubectl.kinds import full_name
from relora_kubectl.plan import JobPlan, PlanView
from relora_kubectl.returns_text import returns_blocks
from relora_kubectl.server_moves import ServerMove
from relora_kubectl.tables import Block, Note, Table
from relora_kubectl.wording import counted, human_duration

MOST_NAMED = 3


def plan_blocks(view: PlanView, limit: int) -> list[Block]:
    """Return the view as sentences and tables.

    Args:
        view: The plan.
        limit: Most rows of a table; 0 for all.
    """
    if view.refused is not None:
        return [Note(_verdict(view)), _advice([view.refused.reason])]
    if view.returns is not None:
        return [Note(_verdict(view)), *returns_blocks(view.returns)]
    blocks: list[Block] = [Note(_verdict(view)), Note(_summary(view)), _deltas(view)]
    for table in (_jobs(view.jobs), _servers(view.servers), _excluded(view)):
        blocks += _cut(table, limit)
    reasons = [view.lacking.reason] if view.lacking is not None else []
    return [*blocks, _advice([*reasons, *(one.told.reason for one in view.excluded), *_stalls(view)])]


def _verdict(view: PlanView) -> str:
    what = "the change of release" if view.exists else "release"
    if view.refused is not None:
        return f"{what} {view.release} would be refused: {view.refused.reason}: {view.refused.message}"
    before = f"supersedes {view.supersedes}" if view.supersedes else "the first of its model"
    if view.lacking is not None:
        lack = f"{view.lacking.reason}: {view.lacking.message}"
        return f"{what} {view.release} would be accepted ({before}), and no Job would start: {lack}"
    return f"{what} {view.release} would be accepted: {before}"


def _summary(view: PlanView) -> str:
    lines = [
        f"{view.eligible} of {counted(view.bindings, 'binding')} of the model {view.model} take part",
        f"{counted(len(view.jobs), 'Job')} to start{_pace(view)}, after {counted(view.delta_jobs, 'delta Job')}",
    ]
    if view.queue is not None:
        lines.append(f"Kueue sets the pace: LocalQueue {view.queue}, at most {view.max_queued_jobs} Jobs wait in it")
    if view.canaries is not None:
        lines.append(_canaries(view.canaries, view.eligible))
    if view.exists:
        done = counted(view.settled, "binding")
        lines.append(f"{counted(view.running, 'Job')} under way, {done} promoted or at their end")
    if view.estimate is not None:
        lines.append(_estimate(view))
    if view.budget is not None:
        lines.append(_budget(view.budget, view.eligible))
    moving = sum(move.moves for move in view.servers)
    lines.append(f"{moving} of {counted(len(view.servers), 'server')} would move when all of their members have passed")
    return "\n".join(lines)


def _pace(view: PlanView) -> str:
    in_all, in_a_namespace = view.max_running_jobs, view.max_running_jobs_per_namespace
    limits = [f"{in_all} at a time"] if in_all is not None else []
    if in_a_namespace is not None and in_a_namespace < (in_all or in_a_namespace + 1):
        limits.append(f"{in_a_namespace} in a namespace")
    return f", at most {' and '.join(limits)}" if limits else ""


def _canaries(canaries: Canaries, eligible: int) -> str:
    """Say who goes first, and what the others wait for."""
    named = [
        f"{'server' if unit.kind == AdapterServer.resource.kind else 'binding'} {full_name(unit.namespace, unit.name)}"
        for unit in canaries.units
    ]
    first = sum(unit.bindings for unit in canaries.units)
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    accepted = canaries.accepted_failures
    most = f"more than {counted(accepted, 'failure')}" if accepted else "a failure"
    enough = f"{canaries.min_promoted} of {len(named)} {'is' if canaries.min_promoted == 1 else 'are'} promoted"
    return (
        f"canaries: {', '.join(named[:MOST_NAMED])}{more}, {counted(first, 'binding')}\n"
        f"the other {counted(eligible - first, 'binding')} follow when {enough}; "
        f"{most} among the canaries halts, or {human_duration(canaries.deadline_seconds)} without"
    )


def _budget(budget: Budget, eligible: int) -> str:
    """Say how many failures halt the release."""
    percent = budget.minimum_sample is not None
    most = f"{budget.max_failed.removesuffix('%')} %" if percent else budget.max_failed
    if budget.halts_at is None:
        few = budget.minimum_sample is not None and eligible < budget.minimum_sample
        why = f"fewer than {budget.minimum_sample} bindings take part" if few else f"{most} may fail"
        return f"no number of failures halts: {why}"
    early = f", or {budget.halts_early_at} among the first {budget.minimum_sample}" if budget.halts_early_at else ""
    return f"halts after {counted(budget.halts_at, 'failure')} (more than {most} fail){early}"


def _estimate(view: PlanView) -> str:
    estimate = view.estimate
    if estimate is None or estimate.job_seconds is None:
        return estimate.basis if estimate is not None else ""
    ends = f", the last one ends after {human_duration(estimate.seconds)}" if estimate.seconds is not None else ""
    return f"about {estimate.job_seconds / 3600:.1f} hours of Jobs{ends} ({estimate.basis})"


def _deltas(view: PlanView) -> Table:
    return Table(
        ("delta from", "bindings", "state"),
        tuple(
            (delta.source_release_name, str(delta.bindings), "stored" if delta.stored else "to be made")
            for delta in view.deltas
        ),
    )


def _jobs(jobs: Sequence[JobPlan]) -> Table:
    return Table(
        ("order", "binding", "from", "strategy", "server", "starts after"),
        tuple(
            (
                str(place),
                full_name(job.namespace, job.name),
                job.source_release_name,
                job.strategy,
                job.server,
                "" if job.start_seconds is None else human_duration(job.start_seconds),
            )
            for place, job in enumerate(jobs, start=1)
        ),
    )


def _servers(moves: Sequence[ServerMove]) -> Table:
    return Table(
        ("server", "serves", "members", "moves"),
        tuple(
            (full_name(move.namespace, move.name), move.release_name, str(move.members), _when(move)) for move in moves
        ),
    )


def _when(move: ServerMove) -> str:
    if move.stalled is not None:
        return f"no: {move.stalled.reason}: {move.stalled.message}"
    if move.kept_by:
        named = ", ".join(f"{full_name(one.namespace, one.name)} ({one.reason})" for one in move.kept_by)
        return f"when their time is over, without {named}" if move.splits else f"no: {named}"
    return f"when {move.waiting} of {move.members} members have passed" if move.waiting else "at once"


def _excluded(view: PlanView) -> Table:
    return Table(
        ("no job for", "reason", "message"),
        tuple((full_name(one.namespace, one.name), one.told.reason, one.told.message) for one in view.excluded),
    )


def _stalls(view: PlanView) -> list[str]:
    return [move.stalled.reason for move in view.servers if move.stalled is not None]


def _advice(reasons: Sequence[str]) -> Table:
    return Table(("reason", "what to do"), tuple(remedies(reasons)))


def _cut(table: Table, limit: int) -> list[Block]:
    """Return a table with at most `limit` rows, and a line that tells of the others."""
    if not limit or len(table.rows) <= limit:
        return [table]
    return [Table(table.header, table.rows[:limit]), Note(f"… and {len(table.rows) - limit} more: --limit 0 shows all")]

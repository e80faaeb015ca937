"""The view of a plan in words."""

from collections.abc import Sequence

from relora_kubectl.advice import remedies
from relora_kubectl.kinds import full_name
from relora_kubectl.plan import JobPlan, PlanView
from relora_kubectl.returns_text import returns_blocks
from relora_kubectl.server_moves import ServerMove
from relora_kubectl.tables import Block, Note, Table
from relora_kubectl.wording import counted, human_duration


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
    pace = f"at most {view.max_running_jobs} at a time{_per_namespace(view)}"
    lines = [
        f"{view.eligible} of {counted(view.bindings, 'binding')} of the model {view.model} take part",
        f"{counted(len(view.jobs), 'Job')} to start, {pace}, after {counted(view.delta_jobs, 'delta Job')}",
    ]
    if view.exists:
        done = counted(view.settled, "binding")
        lines.append(f"{counted(view.running, 'Job')} under way, {done} promoted or at their end")
    if view.estimate is not None:
        lines.append(_estimate(view))
    moving = sum(move.moves for move in view.servers)
    lines.append(f"{moving} of {counted(len(view.servers), 'server')} would move when all of their members have passed")
    return "\n".join(lines)


def _per_namespace(view: PlanView) -> str:
    limit = view.max_running_jobs_per_namespace
    return f" and {limit} in a namespace" if limit < view.max_running_jobs else ""


def _estimate(view: PlanView) -> str:
    estimate = view.estimate
    if estimate is None or estimate.seconds is None or estimate.job_seconds is None:
        return estimate.basis if estimate is not None else ""
    return (
        f"about {estimate.job_seconds / 3600:.1f} hours of Jobs, the last one ends after "
        f"{human_duration(estimate.seconds)} ({estimate.basis})"
    )


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

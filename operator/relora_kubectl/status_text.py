"""The view of a status in words."""

from collections.abc import Iterator

from relora_kubectl.advice import remedies, stays
from relora_kubectl.kinds import full_name
from relora_kubectl.status import PHASES, Blocked, Estimate, ReleaseView, ServerView, StatusView
from relora_kubectl.tables import Block, Note, Table
from relora_kubectl.wording import human_duration


def status_blocks(view: StatusView) -> list[Block]:
    """Return the view as tables: releases one a line, then what keeps them."""
    if not view.releases:
        return [Note("no release is under way or in use")]
    return [releases_table(view), *problem_blocks(view)]


def releases_table(view: StatusView) -> Table:
    """Return one row for each release."""
    return Table(
        ("release", "model", "status", "deltas", "eligible", *PHASES, "estimate"),
        tuple(_row(release) for release in view.releases),
    )


def problem_blocks(view: StatusView) -> list[Block]:
    """Return what is wrong, where, and what to do. Who is still on its way blocks no server for long."""
    servers = Table(
        ("server", "serves", "status", "message"),
        tuple(
            (_name(server), server.release_name, server.status.reason, server.status.message) for server in view.servers
        ),
    )
    blockers = Table(
        ("blocked server", "by binding", "reason"),
        tuple(
            (_name(server), _name(blocker), blocker.reason)
            for server in view.servers
            for blocker in server.blockers
            if stays(blocker.reason)
        ),
    )
    failures = Table(
        ("failed or blocked", "release", "reason"),
        tuple(
            (_name(failure), release.name, failure.reason) for release in view.releases for failure in release.failures
        ),
    )
    stalled = Table(
        ("stalled release", "reason", "message"),
        tuple((one.name, one.stalled.reason, one.stalled.message) for one in view.releases if one.stalled is not None),
    )
    tables: list[Block] = [stalled, servers, blockers, failures]
    return [*tables, Table(("reason", "what to do"), tuple(remedies(_reasons(view))))]


def estimate_text(estimate: Estimate | None) -> str:
    """Return the estimate as part of a sentence; empty when no Job is to come."""
    if estimate is None:
        return ""
    if estimate.seconds is None:
        return estimate.basis
    return f"about {human_duration(estimate.seconds)} ({estimate.basis})"


def change_lines(view: StatusView) -> dict[str, str]:
    """Return one line for each object, by its name; what is printed again when it differs."""
    lines = {f"release {release.name}": _release_line(release) for release in view.releases}
    for server in view.servers:
        blocked = ", ".join(f"{_name(blocker)} ({blocker.reason})" for blocker in server.blockers)
        parts = [server.status.reason, server.status.message, f"blocked by {blocked}" if blocked else ""]
        lines[f"server {_name(server)}"] = ": ".join(part for part in parts if part)
    return lines


def _release_line(release: ReleaseView) -> str:
    counts = ", ".join(f"{phase.count} {phase.name}" for phase in release.phases)
    deltas = ", ".join(f"delta from {delta.source_release_name} {delta.state}" for delta in release.deltas)
    stalled = f"{release.stalled.reason}: {release.stalled.message}" if release.stalled is not None else ""
    parts = [release.status.reason, counts, deltas, stalled]
    return "; ".join(part for part in parts if part)


def _row(release: ReleaseView) -> tuple[str, ...]:
    stored = sum(delta.state == "Stored" for delta in release.deltas)
    counts = {phase.name: str(phase.count) for phase in release.phases}
    return (
        release.name,
        release.model,
        release.status.reason,
        f"{stored}/{len(release.deltas)}" if release.deltas else "",
        "" if release.eligible is None else str(release.eligible),
        *(counts.get(phase, "") for phase in PHASES),
        estimate_text(release.estimate),
    )


def _name(one: Blocked | ServerView) -> str:
    return full_name(one.namespace, one.name)


def _reasons(view: StatusView) -> Iterator[str]:
    for release in view.releases:
        yield from [release.stalled.reason] if release.stalled is not None else []
        yield from (failure.reason for failure in release.failures)
    for server in view.servers:
        yield server.status.reason
        yield from (blocker.reason for blocker in server.blockers)

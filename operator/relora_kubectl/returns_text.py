"""What a withdrawal does, in words."""

from collections.abc import Sequence

from relora_kubectl.advice import remedies
from relora_kubectl.kinds import full_name
from relora_kubectl.returns import BindingReturn, Returns, ServerReturn
from relora_kubectl.tables import Block, Note, Table
from relora_kubectl.wording import counted


def returns_blocks(returns: Returns) -> list[Block]:
    """Return the view as a sentence and tables, and what to do about those who cannot leave."""
    leaving = sum(server.leaves for server in returns.servers)
    back = sum(binding.release_name is not None for binding in returns.bindings)
    summary = (
        f"{leaving} of {counted(len(returns.servers), 'server')} and {back} of "
        f"{counted(len(returns.bindings), 'binding')} without a server leave the release\n"
        f"{counted(returns.jobs, 'Job')} and {counted(returns.delta_jobs, 'delta Job')} end"
    )
    reasons = [one.reason for server in returns.servers for one in server.kept_by]
    reasons += [server.stalled.reason for server in returns.servers if server.stalled is not None]
    advised = Table(("reason", "what to do"), tuple(remedies(reasons)))
    return [Note(summary), _servers(returns.servers), _bindings(returns.bindings), advised]


def _servers(servers: Sequence[ServerReturn]) -> Table:
    rows = ((full_name(one.namespace, one.name), str(one.members), _where(one)) for one in servers)
    return Table(("server", "members", "goes to"), tuple(rows))


def _where(server: ServerReturn) -> str:
    if server.stalled is not None:
        return f"stays: {server.stalled.reason}: {server.stalled.message}"
    if server.release_name is None:
        who = ", ".join(full_name(one.namespace, one.name) for one in server.kept_by)
        return f"stays: no pair to return to for {who}" if who else "stays: there is no earlier release"
    return f"{server.release_name}, its roll-out is taken back" if server.under_way else server.release_name


def _bindings(bindings: Sequence[BindingReturn]) -> Table:
    rows = ((full_name(one.namespace, one.name), one.release_name or "stays: no pair to return to") for one in bindings)
    return Table(("binding without server", "goes to"), tuple(rows))

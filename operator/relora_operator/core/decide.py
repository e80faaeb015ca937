"""The decisions of every kind behind one door."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from relora_operator.core.actions import Plan
from relora_operator.core.binding import decide_binding
from relora_operator.core.release import decide_release
from relora_operator.core.server import decide_server
from relora_operator.core.snapshot import BindingSnapshot, ReleaseSnapshot, ServerSnapshot


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """The pure functions that the loop is built around."""

    release: Callable[[ReleaseSnapshot, datetime], Plan]
    binding: Callable[[BindingSnapshot, datetime], Plan]
    server: Callable[[ServerSnapshot, datetime], Plan]

    def decide(self, snapshot: ReleaseSnapshot | BindingSnapshot | ServerSnapshot, now: datetime) -> Plan:
        """Return the plan for a snapshot."""
        match snapshot:
            case ReleaseSnapshot():
                return self.release(snapshot, now)
            case BindingSnapshot():
                return self.binding(snapshot, now)
            case ServerSnapshot():
                return self.server(snapshot, now)


DECISIONS = Decisions(release=decide_release, binding=decide_binding, server=decide_server)

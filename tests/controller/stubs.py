"""The operator with decisions that only a test could want: `python -m controller.stubs run …`."""

import asyncio
import itertools
import sys
from datetime import datetime

from relora_operator.core.actions import EmitEvent, Key, Plan
from relora_operator.core.decide import Decisions
from relora_operator.core.snapshot import BindingSnapshot, ReleaseSnapshot, ServerSnapshot
from relora_operator.logs import configure_logs
from relora_operator.process import run
from relora_operator.settings import parse_arguments

_numbers = itertools.count()


def main() -> int:
    """Emit an Event per release five times a second: a write that no precondition guards."""
    settings = parse_arguments(sys.argv[1:])
    configure_logs(settings.log_level)

    def report(snapshot: ReleaseSnapshot, _: datetime) -> Plan:
        key = Key("BaseModelRelease", "", snapshot.release.metadata.name)
        message = f"{settings.identity} {next(_numbers)}"
        event = EmitEvent(key=key, type="Normal", reason="Tick", message=message)
        return Plan(actions=(event,), requeue_after_seconds=0.2)

    def nothing(_: BindingSnapshot | ServerSnapshot, __: datetime) -> Plan:
        return Plan()

    return asyncio.run(run(settings, Decisions(release=report, binding=nothing, server=nothing)))


if __name__ == "__main__":
    sys.exit(main())

"""Says what a scenario's objects looked like when it failed."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from e2e import facts
from e2e.clusterapi import Json, Ref

if TYPE_CHECKING:
    from e2e.world import Stage

_LOG_LINES = 12
_OPERATOR_LOG_LINES = 60


def describe(stage: "Stage") -> str:
    """Return statuses, Jobs, pods with their last lines, events, and the operator's lines about the scenario."""
    return "\n".join(_lines(stage))


def _lines(stage: "Stage") -> Iterator[str]:
    chronicle = stage.world.chronicle
    for name in stage.releases:
        yield _status(f"BaseModelRelease {name}", chronicle.current(Ref("BaseModelRelease", "", name)))
    for namespace in stage.namespaces:
        for kind in ("AdapterBinding", "AdapterServer", "Deployment", "Job"):
            for thing in chronicle.alive(kind, namespace):
                yield _status(f"{kind} {namespace}/{thing['metadata']['name']}", thing)
        for pod in chronicle.alive("Pod", namespace):
            yield from _pod(stage, pod)
        for event in sorted(chronicle.alive("Event", namespace), key=_event_time)[-20:]:
            involved = event["involvedObject"]
            yield f"event {involved['kind']} {involved['name']}: {event.get('reason')}: {event.get('message')}"
    for pod in stage.world.operator.pods():
        log = stage.api.log_tail(Ref.of("Pod", pod), pod["spec"]["containers"][0]["name"], 2000)
        about = [line for line in log.splitlines() if stage.name in line or "rror" in line]
        yield f"operator {pod['metadata']['name']}:"
        yield from about[-_OPERATOR_LOG_LINES:]


def _status(title: str, thing: Json | None) -> str:
    return f"{title}: {json.dumps((thing or {}).get('status', {}), ensure_ascii=False)}"


def _pod(stage: "Stage", pod: Json) -> Iterator[str]:
    name = pod["metadata"]["name"]
    yield f"pod {name}: {pod['status'].get('phase')}"
    for container, state in facts.container_states(pod).items():
        yield f"  {container}: {json.dumps(state)}"
        if "waiting" not in state:
            for line in stage.api.log_tail(Ref.of("Pod", pod), container, _LOG_LINES).splitlines():
                yield f"    {line}"


def _event_time(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])

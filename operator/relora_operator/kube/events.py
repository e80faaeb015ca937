"""Kubernetes Events: what people see with `kubectl describe` and `kubectl get events`."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from relora_contract.wellknown import API_VERSION, GROUP
from relora_operator.core.actions import EmitEvent
from relora_operator.kube.client import Client
from relora_operator.kube.errors import AlreadyExistsError, JsonObject, KubeError
from relora_operator.kube.resources import EVENTS

logger = logging.getLogger(__name__)

_NOTE_LIMIT = 1024
_NAME_LIMIT = 200
_REMEMBERED = 2000
_CLUSTER_EVENTS_NAMESPACE = "default"


class EventRecorder:
    """Creates each Event once an hour at most, also across restarts: its name follows from what it says.

    Args:
        client: Writes the Events.
        instance: Which replica reports.
        now: Time of day.
    """

    def __init__(self, client: Client, *, instance: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._instance = instance
        self._now = now
        self._emitted: OrderedDict[str, None] = OrderedDict()

    async def emit(self, event: EmitEvent, uid: str | None) -> bool:
        """Create the Event, unless it was created in this hour. Failure is logged only: an Event is no state."""
        now = self._now()
        namespace = event.key.namespace or _CLUSTER_EVENTS_NAMESPACE
        name = _name(event, uid, now)
        if name in self._emitted:
            return False
        self._emitted[name] = None
        if len(self._emitted) > _REMEMBERED:
            self._emitted.popitem(last=False)
        try:
            await self._client.create(EVENTS, namespace, self._body(event, uid, namespace, name))
        except AlreadyExistsError:
            return False
        except KubeError as error:
            logger.warning("an Event was not recorded: %s", error, extra={"key": event.key})
            return False
        return True

    def _body(self, event: EmitEvent, uid: str | None, namespace: str, name: str) -> JsonObject:
        regarding: JsonObject = {"apiVersion": API_VERSION, "kind": event.key.kind, "name": event.key.name}
        if event.key.namespace:
            regarding["namespace"] = event.key.namespace
        if uid:
            regarding["uid"] = uid
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"{GROUP}/operator",
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": event.reason,
            "type": event.type,
            "note": event.message[:_NOTE_LIMIT],
            "regarding": regarding,
        }


def _name(event: EmitEvent, uid: str | None, now: datetime) -> str:
    said = "\n".join((event.key.kind, uid or "", event.reason, event.message, now.strftime("%Y-%m-%dT%H")))
    return f"{event.key.name[:_NAME_LIMIT]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"

"""Where news of the cluster come in: from the watches, from lists, and from the answers to our own writes."""

from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import identity
from relora_operator.kube.resources import ResourceType
from relora_operator.loop.cache import version_of
from relora_operator.loop.fanout import AnyChange, concerned, is_only_status, is_progress
from relora_operator.loop.queue import WorkQueue
from relora_operator.loop.state import State

OWN_STATUS_PAUSE_SECONDS = 1.0
"""When an object is looked at again after its status was written. At once, it would pick up what its pauses are to
gather, and tell each piece of it in a status of its own; mostly other news come meanwhile that it is looked at for."""


class Intake:
    """Updates the state and puts the concerned keys on the queue."""

    def __init__(self, state: State, queue: WorkQueue) -> None:
        self._state = state
        self._queue = queue

    def seen(self, resource: ResourceType, raw: JsonObject) -> bool:
        """Take in an object as it is or was; return whether that was news.

        Raises:
            UnreadableError: It has no usable metadata.
        """
        return self._pass_on(resource, self._state.cache_of(resource).observe(raw))

    def gone(self, resource: ResourceType, raw: JsonObject) -> bool:
        """Take in the last state of an object that was deleted, or that lost the label by which we follow its kind.

        Raises:
            UnreadableError: It has no usable metadata.
        """
        metadata = identity(raw)
        namespace = metadata.namespace if resource.namespaced else ""
        return self.missing(resource, namespace, metadata.name, metadata.uid, version_of(metadata.resource_version))

    def missing(self, resource: ResourceType, namespace: str, name: str, uid: str, version: int) -> bool:
        """Take in that the object of this uid was no longer there at `version`; return whether that was news."""
        return self._pass_on(resource, self._state.cache_of(resource).forget(namespace, name, uid, version))

    def _pass_on(self, resource: ResourceType, change: AnyChange | None) -> bool:
        if change is None:
            return False
        only_status = is_only_status(change)
        for key in concerned(self._state, change):
            if is_progress(change, key.kind):
                self._queue.add_for_progress(key)
            elif key.kind != resource.kind:
                self._queue.add_soon(key)
            elif only_status:
                self._queue.add_after(key, OWN_STATUS_PAUSE_SECONDS)
            else:
                self._queue.add(key)
        return True

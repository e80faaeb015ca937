"""Which Jobs the API server refused to create. Learned by the executor, told by the next decision.

Held in memory only: after a restart the next try teaches it again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from relora_operator.core.actions import Key
from relora_operator.core.refusals import JobRefusal
from relora_operator.kube.errors import KubeError

PAUSE_SECONDS = 60.0
"""Between two tries: quotas and policies change at the pace of people."""
KEPT = timedelta(hours=1)
"""A Job that was not tried again for so long is no longer asked for."""


class RefusalMemory:
    """The refused Jobs of each object.

    Args:
        now: The time of day.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._by_owner: dict[Key, dict[str, JobRefusal]] = {}

    def record(self, owner: Key, job: str, error: KubeError) -> None:
        """Remember the server's answer to the creation of `job`."""
        now, pause = self._now(), timedelta(seconds=max(PAUSE_SECONDS, error.retry_after_seconds or 0.0))
        recent = {name: one for name, one in self.of(owner).items() if one.again_at > now - KEPT}
        refusal = JobRefusal(status=error.status, answer=error.answer, again_at=now + pause)
        self._by_owner[owner] = {**recent, job: refusal}

    def forget(self, owner: Key, job: str) -> None:
        """Forget a Job that exists now."""
        known = self._by_owner.get(owner, {})
        known.pop(job, None)
        if not known:
            self.clear(owner)

    def clear(self, owner: Key) -> None:
        """Forget everything of an object that is gone or was changed."""
        self._by_owner.pop(owner, None)

    def of(self, owner: Key) -> dict[str, JobRefusal]:
        """Return the refused Jobs of an object, by their names."""
        return dict(self._by_owner.get(owner, {}))

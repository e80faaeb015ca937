"""When the Jobs lost their pods. A Job does not tell: its controller leaves no time of that in the status.

Held in memory only: a new process knows of none, and takes its own beginning for it.
"""

from collections.abc import Callable
from datetime import datetime

from relora_operator.kube.parse_jobs import JobRecord, PodRecord
from relora_operator.loop.cache import Change
from relora_operator.loop.state import State


class LostPods:
    """Follows pods that go while their Job goes on, as after an eviction.

    Args:
        state: Whose pods and Jobs are followed.
        now: The time of day.
    """

    def __init__(self, state: State, now: Callable[[], datetime]) -> None:
        self._state = state
        self._now = now
        self._began = now()
        self._lost: dict[str, datetime] = {}
        state.pods.follow(self._pod_changed)
        state.jobs.follow(self._job_changed)

    def last_of(self, job_uid: str) -> datetime:
        """Return when a Job lost its last pod, or when this process began if it has not since."""
        return self._lost.get(job_uid, self._began)

    def _pod_changed(self, change: Change[PodRecord]) -> None:
        if change.new is not None or change.old is None or change.old.owner_uid is None:
            return
        uid = change.old.owner_uid
        if any(job.view.live for job in self._state.jobs.find("uid", uid)):
            self._lost[uid] = self._now()

    def _job_changed(self, change: Change[JobRecord]) -> None:
        if change.new is None and change.old is not None:
            self._lost.pop(change.old.view.uid, None)

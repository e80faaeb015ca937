"""Serving sets that did not reach their workload. Learned by the executor, told by the next decision.

Held in memory only: after a restart the next try teaches it again.
"""

from relora_operator.loop.cache import ObjectId


class UnappliedSets:
    """The set of each workload that the last write could not put there."""

    def __init__(self) -> None:
        self._digests: dict[ObjectId, str] = {}

    def failed(self, target: ObjectId, digest: str) -> None:
        """Remember that the workload did not get the set."""
        self._digests[target] = digest

    def applied(self, target: ObjectId) -> None:
        """Forget what the workload lacked: it got a set."""
        self._digests.pop(target, None)

    def of(self, target: ObjectId) -> str | None:
        """Return the digest of the set that the workload did not get, or None."""
        return self._digests.get(target)

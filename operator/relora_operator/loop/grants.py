"""Which bindings may have an active Job. Planned by the release's reconcile, read by the binding's.

Held in memory only: after a restart the first reconcile of each release plans again, and until then nothing starts.
"""

from collections.abc import Set as AbstractSet

from relora_operator.core.actions import Key


class Grants:
    """The slots that each release has given away."""

    def __init__(self) -> None:
        self._by_release: dict[str, frozenset[Key]] = {}

    def replace(self, release: str, bindings: AbstractSet[Key]) -> frozenset[Key]:
        """Set the slots of `release` and return the bindings that had none of its slots before."""
        before = self._by_release.get(release, frozenset())
        after = frozenset(bindings)
        if after:
            self._by_release[release] = after
        else:
            self._by_release.pop(release, None)
        return after - before

    def clear(self, release: str) -> None:
        """Take back the slots of a release that is gone."""
        self._by_release.pop(release, None)

    def of(self, release: str) -> frozenset[Key]:
        """Return the bindings that hold a slot of `release`."""
        return self._by_release.get(release, frozenset())

    def holds(self, binding: Key) -> bool:
        """Tell whether some release has given `binding` a slot."""
        return any(binding in bindings for bindings in self._by_release.values())

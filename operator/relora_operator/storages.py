"""kopf's storages of what it remembers of objects, which here remember nothing.

Handlers of changes compare an object with its last state, and kopf prepares that comparison for every event: it copies
the whole object three times, also where there are no such handlers. Those copies were nearly nine tenths of the cost
of an event.
"""

from collections.abc import Iterable

import kopf
from kopf import Body, BodyEssence, Patch
from typing_extensions import override

_NOTHING = BodyEssence()


class NoDiffBase(kopf.DiffBaseStorage):
    """Knows no last state, and takes no interest in the present one."""

    @override
    def build(self, *, body: Body, extra_fields: Iterable[object] | None = None) -> BodyEssence:
        """Return an empty essence: any two are equal."""
        return _NOTHING

    @override
    def fetch(self, *, body: Body) -> BodyEssence | None:
        """Return nothing."""
        return None

    @override
    def store(self, *, body: Body, patch: Patch, essence: BodyEssence) -> None:
        """Write nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress: a handler of events has none."""

    @override
    def fetch(self, *, key: str, body: Body) -> kopf.ProgressRecord | None:
        """Return nothing."""
        return None

    @override
    def store(self, *, key: str, record: kopf.ProgressRecord, body: Body, patch: Patch) -> None:
        """Write nothing."""

    @override
    def purge(self, *, key: str, body: Body, patch: Patch) -> None:
        """Write nothing."""

    @override
    def touch(self, *, body: Body, patch: Patch, value: str | None) -> None:
        """Write nothing."""

    @override
    def clear(self, *, essence: BodyEssence) -> BodyEssence:
        """Return the essence as it is."""
        return essence

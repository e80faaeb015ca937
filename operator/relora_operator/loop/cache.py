"""The last known state of one kind, fed by events, lists and the answers to our own writes.

What arrives late is ignored: a record only moves to a higher resourceVersion, and a deletion is remembered by its
own. So a decision never sees a state older than one that was already seen, nor older than what we wrote ourselves.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic.types import JsonValue
from typing_extensions import override

from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import UnreadableError, identity
from relora_operator.kube.resources import ResourceType

logger = logging.getLogger(__name__)

TOMBSTONES = 10_000

Value = TypeVar("Value")
ObjectId = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""


@dataclass(frozen=True)
class Record(Generic[Value]):
    """One object in the form that decisions see."""

    uid: str
    version: int
    value: Value


@dataclass(frozen=True)
class Unreadable:
    """An object of another form than this version knows, with its spec as it stands there."""

    uid: str
    version: int
    spec: JsonValue


@dataclass(frozen=True)
class Change(Generic[Value]):
    """What became known of one object: its value before and after; None where it did not exist or was unreadable."""

    id: ObjectId
    old: Value | None
    new: Value | None


class Cache(Generic[Value]):
    """The objects of one kind.

    Args:
        resource: The kind.
        parse: From JSON to the form that decisions see; raises `UnreadableError`.
        parse_newer: The same for an object of which an earlier state is known, which may be cheaper.
        indexes: By name, the keys under which a value is found.
    """

    def __init__(
        self,
        resource: ResourceType,
        parse: Callable[[JsonObject], Value],
        indexes: Mapping[str, Callable[[Value], Iterable[Hashable]]] | None = None,
        *,
        parse_newer: Callable[[JsonObject, Value], Value] | None = None,
    ) -> None:
        self.resource = resource
        self._parse = parse
        self._parse_newer = parse_newer
        self._keys_of = dict(indexes or {})
        self._records: dict[ObjectId, Record[Value]] = {}
        self._unreadable: dict[ObjectId, Unreadable] = {}
        self._indexes: dict[str, dict[Hashable, set[ObjectId]]] = {name: {} for name in self._keys_of}
        self._tombstones: OrderedDict[str, int] = OrderedDict()
        self._followers: list[Callable[[Change[Value]], None]] = []

    def follow(self, told: Callable[[Change[Value]], None]) -> None:
        """Let `told` know of every change, right after it was taken in."""
        self._followers.append(told)

    def get(self, namespace: str, name: str) -> Value | None:
        """Return the object, or None."""
        record = self._records.get((namespace, name))
        return record.value if record else None

    def uid(self, namespace: str, name: str) -> str | None:
        """Return the uid of the object, or None."""
        record = self._records.get((namespace, name))
        return record.uid if record else None

    def version(self, namespace: str, name: str) -> int:
        """Return the version of the object that was seen last, or 0."""
        record = self._records.get((namespace, name))
        return record.version if record else 0

    def ids(self) -> list[ObjectId]:
        """Return the readable objects' names."""
        return list(self._records)

    def values(self) -> list[Value]:
        """Return the readable objects."""
        return [record.value for record in self._records.values()]

    def find(self, index: str, key: Hashable) -> tuple[Value, ...]:
        """Return the objects that `index` has under `key`, ordered by namespace and name."""
        found = self._indexes[index].get(key, ())
        return tuple(self._records[object_id].value for object_id in sorted(found))

    def under(self, index: str, key: Hashable) -> Collection[Value]:
        """Return the objects that `index` has under `key`, in any order: a view, which costs nothing to make."""
        return _Under(self._records, self.ids_under(index, key))

    def ids_under(self, index: str, key: Hashable) -> AbstractSet[ObjectId]:
        """Return the names of the objects that `index` has under `key`."""
        return self._indexes[index].get(key, frozenset())

    @property
    def unreadable(self) -> Mapping[ObjectId, Unreadable]:
        """The objects that could not be parsed."""
        return self._unreadable

    def knows(self, namespace: str, name: str, uid: str, version: int) -> bool:
        """Tell whether this version of the object, or a later one, has been seen."""
        known = self._known((namespace, name))
        if known is not None and known.uid == uid and known.version >= version:
            return True
        return self._tombstones.get(uid, -1) >= version

    def observe(self, raw: JsonObject) -> Change[Value] | None:
        """Take in an object. Return None when nothing new was learned.

        Raises:
            UnreadableError: It has no usable metadata.
        """
        found = identity(raw)
        object_id = (found.namespace if self.resource.namespaced else "", found.name)
        version = version_of(found.resource_version)
        known = self._known(object_id)
        if self.knows(*object_id, found.uid, version) or (known is not None and known.version > version):
            return None
        old = self._drop(object_id)
        try:
            value = (
                self._parse_newer(raw, old) if self._parse_newer is not None and old is not None else self._parse(raw)
            )
        except UnreadableError as error:
            self._unreadable[object_id] = Unreadable(found.uid, version, raw.get("spec"))
            logger.warning("%s %s cannot be read: %s", self.resource.kind, "/".join(filter(None, object_id)), error)
            return self._told(Change(object_id, old, None))
        self._records[object_id] = Record(found.uid, version, value)
        for name, keys_of in self._keys_of.items():
            for key in keys_of(value):
                self._indexes[name].setdefault(key, set()).add(object_id)
        return self._told(Change(object_id, old, value))

    def forget(self, namespace: str, name: str, uid: str, version: int) -> Change[Value] | None:
        """Take in that an object is gone since `version`. Return None when that was known or another took its place."""
        known = self._known((namespace, name))
        self._tombstones[uid] = max(version, self._tombstones.pop(uid, -1))
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)
        if known is None or known.uid != uid or known.version > version:
            return None
        return self._told(Change((namespace, name), self._drop((namespace, name)), None))

    def _told(self, change: Change[Value]) -> Change[Value]:
        for told in self._followers:
            told(change)
        return change

    def ghosts(
        self, listed: Iterable[ObjectId], version: int, among: Iterable[ObjectId] | None = None
    ) -> list[tuple[ObjectId, str]]:
        """Return what a complete list of the moment `version` no longer has, with uids.

        Args:
            listed: The names on the list.
            version: Its moment.
            among: What the list was of; by default the whole kind.
        """
        present = set(listed)
        asked = (*self._records, *self._unreadable) if among is None else tuple(among)
        known = ((object_id, self._known(object_id)) for object_id in asked if object_id not in present)
        return [(object_id, entry.uid) for object_id, entry in known if entry is not None and entry.version <= version]

    def _known(self, object_id: ObjectId) -> Record[Value] | Unreadable | None:
        return self._records.get(object_id) or self._unreadable.get(object_id)

    def _drop(self, object_id: ObjectId) -> Value | None:
        self._unreadable.pop(object_id, None)
        record = self._records.pop(object_id, None)
        if record is None:
            return None
        for name, keys_of in self._keys_of.items():
            for key in keys_of(record.value):
                members = self._indexes[name][key]
                members.discard(object_id)
                if not members:
                    del self._indexes[name][key]
        return record.value


class _Under(Collection[Value]):
    """The objects under one key of an index."""

    def __init__(self, records: Mapping[ObjectId, Record[Value]], ids: AbstractSet[ObjectId]) -> None:
        self._records = records
        self._ids = ids

    @override
    def __len__(self) -> int:
        return len(self._ids)

    @override
    def __iter__(self) -> Iterator[Value]:
        return (self._records[object_id].value for object_id in self._ids)

    @override
    def __contains__(self, value: object) -> bool:
        return any(value == found for found in self)


def version_of(resource_version: str) -> int:
    """Return a resourceVersion as the number that it is; within one kind a larger one is later."""
    return int(resource_version) if resource_version.isdecimal() else 0

"""What happened in the cluster, object version by object version: what scenarios wait for and judge by."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from kubernetes import client
from urllib3.exceptions import HTTPError

from e2e.clusterapi import ClusterApi, Json, Ref

KINDS = ("AdapterBinding", "AdapterServer", "BaseModelRelease", "Deployment", "Event", "Job", "Lease", "Pod")
_WATCH_SECONDS = 4
_GONE = 410

T = TypeVar("T")


class DeadlineError(AssertionError):
    """What a scenario waited for did not happen in time."""


@dataclass(frozen=True)
class Version:
    """One state of an object.

    Attributes:
        seconds: When it was seen, since the chronicle was opened.
        deleted: The object is gone; `object` is its last state.
        object: The whole object.
    """

    seconds: float
    deleted: bool
    object: Json


@dataclass
class _Pages:
    versions: dict[Ref, list[Version]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)


class Chronicle:
    """Records every version of the objects of `KINDS`, in all namespaces, as a context manager.

    A watch delivers each version once and in order; states between two versions do not exist in the API. So a fact
    such as "the annotation never held anything else" or "this Job was created once" can be read off afterwards.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._pages = _Pages()
        self._closing = threading.Event()
        self._started = time.monotonic()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._follow, args=(kind,), name=f"watch {kind}") for kind in KINDS]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def wait(self, what: str, probe: Callable[[], T | None], *, seconds: float) -> T:
        """Return what `probe` finds, as soon as it finds something. It is asked again after every change.

        Raises:
            DeadlineError: It found nothing in time.
        """
        deadline = time.monotonic() + seconds
        with self._pages.changed:
            while True:
                if self._failures:
                    raise DeadlineError(f"the chronicle broke while waiting for {what}") from self._failures[0]
                found = probe()
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DeadlineError(f"not within {seconds:.0f} s: {what}")
                self._pages.changed.wait(min(left, 5))

    def history(self, ref: Ref) -> list[Version]:
        """Return every version of an object, also of several that had the name one after the other."""
        with self._pages.changed:
            return list(self._pages.versions.get(ref, ()))

    def current(self, ref: Ref) -> Json | None:
        """Return an object as it is now, or None while there is none."""
        with self._pages.changed:
            versions = self._pages.versions.get(ref)
            return None if not versions or versions[-1].deleted else versions[-1].object

    def alive(self, kind: str, namespace: str) -> list[Json]:
        """Return the objects of a kind in a namespace as they are now."""
        return [versions[-1].object for _, versions in self._of(kind, namespace) if not versions[-1].deleted]

    def ever(self, kind: str, namespace: str) -> dict[str, Json]:
        """Return the last state of every object of a kind that ever was in a namespace, by its uid."""
        return {
            version.object["metadata"]["uid"]: version.object
            for _, versions in self._of(kind, namespace)
            for version in versions
        }

    def versions(self, kind: str, namespace: str) -> list[Version]:
        """Return all versions of all objects of a kind in a namespace, in the order of their arrival."""
        found = [version for _, versions in self._of(kind, namespace) for version in versions]
        return sorted(found, key=lambda version: version.seconds)

    def _of(self, kind: str, namespace: str) -> Iterator[tuple[Ref, list[Version]]]:
        with self._pages.changed:
            found = [(ref, list(versions)) for ref, versions in self._pages.versions.items()]
        return ((ref, versions) for ref, versions in found if (ref.kind, ref.namespace) == (kind, namespace))

    def _follow(self, kind: str) -> None:
        api = ClusterApi(self._kubeconfig)
        try:
            while not self._closing.is_set():
                self._follow_from_list(api, kind)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits, who would else wait in vain
            self._failures.append(error)
            with self._pages.changed:
                self._pages.changed.notify_all()
        finally:
            api.close()

    def _follow_from_list(self, api: ClusterApi, kind: str) -> None:
        """List, then watch from there until the chronicle closes or the API server forgot where we were."""
        objects, position = api.list(kind)
        listed = {Ref.of(kind, each) for each in objects}
        for each in objects:
            self._record(kind, each, deleted=False)
        self._record_missed_deletions(kind, listed)
        while not self._closing.is_set():
            try:
                for event, each in api.watch(kind, position, _WATCH_SECONDS):
                    position = each["metadata"]["resourceVersion"]
                    if event != "BOOKMARK":
                        self._record(kind, each, deleted=event == "DELETED")
            except client.ApiException as error:
                if error.status == _GONE:
                    return
                raise
            except HTTPError:
                continue  # the connection broke: watch on from the last position

    def _record_missed_deletions(self, kind: str, listed: set[Ref]) -> None:
        with self._pages.changed:
            gone = [ref for ref in self._pages.versions if ref.kind == kind and ref not in listed]
        for ref in gone:
            last = self.current(ref)
            if last is not None:
                self._record(kind, last, deleted=True)

    def _record(self, kind: str, each: Json, *, deleted: bool) -> None:
        with self._pages.changed:
            versions = self._pages.versions.setdefault(Ref.of(kind, each), [])
            known = versions[-1] if versions else None
            same = known is not None and _version(known.object) == _version(each) and known.deleted == deleted
            if not same:
                versions.append(Version(time.monotonic() - self._started, deleted, each))
                self._pages.changed.notify_all()


def _version(each: Json) -> tuple[str, str]:
    return each["metadata"]["uid"], each["metadata"]["resourceVersion"]

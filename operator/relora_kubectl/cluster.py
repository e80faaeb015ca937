"""Reads of whole kinds and of single objects, the few writes, and what refusals of the API server mean to people."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic.types import JsonValue

from relora_contract.api.meta import ApiObject, ObjectMeta
from relora_contract.wellknown import ANNOTATION_RETRY, GROUP
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.kinds import AnyKind, Kind, full_name
from relora_kubectl.ownership import gitops_owners
from relora_operator.core.observed import NamespaceView
from relora_operator.kube.client import REQUEST_SECONDS, Page, Reader
from relora_operator.kube.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    JsonObject,
    KubeError,
    NotFoundError,
    TemporaryError,
)
from relora_operator.kube.parse import UnreadableError, parse_metadata, parse_namespace, parse_own
from relora_operator.kube.resources import NAMESPACES, PROFILES, RELEASES, ResourceType
from relora_operator.kube.transport import Transport

FIELD_MANAGER = "relora-kubectl"
"""Not `kubectl-…`: Flux takes back what managers of that name wrote."""
UNAUTHORIZED = 401
GONE = 410
LIST_ATTEMPTS = 2
"""The API server may forget the moment of a list while its pages are read; then it starts again, once."""

Model = TypeVar("Model", bound=ApiObject)
Parsed = TypeVar("Parsed")


class UnreachableError(PluginError):
    """No answer, or a fault of the API server that may pass."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.UNREACHABLE)


@dataclass(frozen=True)
class Owned(Generic[Model]):
    """An object, and the GitOps managers that own one of its fields."""

    one: Model
    owners: tuple[str, ...]


class Cluster:
    """A cluster as the user may see it.

    Args:
        transport: Sends the requests.
        context: Name of the kubeconfig's context.
        namespace: The context's namespace.

    Attributes:
        unreadable: What was listed and could not be read, as sentences.
    """

    def __init__(self, transport: Transport, *, context: str, namespace: str) -> None:
        self._transport = transport
        self._reader = Reader(transport)
        self.context = context
        self.namespace = namespace
        self.unreadable: list[str] = []

    async def every(self, kind: Kind[Model], namespace: str = "") -> list[Model]:
        """Return the objects of a kind, in one namespace or in all.

        Raises:
            PluginError: They cannot be listed.
        """

        def parse(raw: JsonObject) -> Model | None:
            try:
                return parse_own(kind.model, raw)
            except UnreadableError as error:
                metadata = parse_metadata(raw)
                name = full_name(metadata.namespace, metadata.name)
                self.unreadable.append(f"{kind.resource.kind} {name} cannot be read by this version: {error}")
                return None

        return [one for one in await self._list(kind.resource, namespace, parse) if one is not None]

    async def namespaces(self, name: str = "") -> dict[str, NamespaceView]:
        """Return the namespaces by name: the one that is named, or all.

        Raises:
            PluginError: They cannot be read.
        """
        if name:
            with self._explained("get", NAMESPACES, name):
                try:
                    return {name: parse_namespace(await self._reader.get(NAMESPACES, "", name))}
                except NotFoundError as error:
                    raise PluginError(f"namespace {name} does not exist", ExitCode.REFUSED) from error
        return {view.name: view for view in await self._list(NAMESPACES, "", parse_namespace)}

    async def find(self, kind: Kind[Model], namespace: str, name: str) -> Model | None:
        """Return an object, or None where there is none of that name.

        Raises:
            PluginError: It cannot be read.
        """
        found = await self.find_owned(kind, namespace, name, ())
        return found.one if found is not None else None

    async def find_owned(
        self, kind: Kind[Model], namespace: str, name: str, field: Sequence[str]
    ) -> Owned[Model] | None:
        """Return an object with the GitOps managers that own a field of it, or None where there is none of that name.

        Raises:
            PluginError: It cannot be read.
        """
        with self._explained("get", kind.resource, namespace):
            try:
                raw = await self._reader.get(kind.resource, namespace, name)
            except NotFoundError as error:
                if f'"{name}" not found' in str(error):
                    return None
                raise
        try:
            return Owned(parse_own(kind.model, raw), gitops_owners(raw, field))
        except UnreadableError as error:
            told = f"{kind.resource.kind} {full_name(namespace, name)} cannot be read by this version: {error}"
            raise PluginError(told, ExitCode.REFUSED) from error

    async def request_retry(self, kind: AnyKind, metadata: ObjectMeta, value: str) -> None:
        """Set the annotation that asks for another attempt, on the very object that was seen.

        Raises:
            PluginError: It was replaced, or may not be changed.
        """
        marked: dict[str, JsonValue] = {"uid": metadata.uid, "annotations": {ANNOTATION_RETRY: value}}
        await self._merge(kind, metadata, {"metadata": marked})

    async def set_spec(self, kind: AnyKind, metadata: ObjectMeta, spec: JsonObject) -> None:
        """Set fields of the spec, on the very object that was seen and only as long as nobody else changes it.

        Raises:
            PluginError: It was replaced or changed, may not be changed, or does not take the value.
        """
        seen: dict[str, JsonValue] = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        await self._merge(kind, metadata, {"metadata": seen, "spec": spec})

    async def _merge(self, kind: AnyKind, metadata: ObjectMeta, body: JsonObject) -> None:
        with self._explained("patch", kind.resource, metadata.namespace):
            try:
                await self._transport.request(
                    "PATCH",
                    kind.resource,
                    kind.resource.path(metadata.namespace, metadata.name),
                    body=body,
                    query={"fieldManager": FIELD_MANAGER},
                    headers={"Content-Type": "application/merge-patch+json"},
                    timeout_seconds=REQUEST_SECONDS,
                )
            except ConflictError as error:
                name = full_name(metadata.namespace, metadata.name)
                raise PluginError(f"{name} was changed or replaced meanwhile: look again", ExitCode.REFUSED) from error
            except InvalidError as error:
                raise PluginError(f"the API server refuses the change: {error}", ExitCode.REFUSED) from error

    async def _list(
        self, resource: ResourceType, namespace: str, parse: Callable[[JsonObject], Parsed]
    ) -> list[Parsed]:
        """Return what `parse` makes of a list, page by page: only two pages at a time are held as JSON."""
        with self._explained("list", resource, namespace), _without_collector():
            for attempt in range(1, LIST_ATTEMPTS + 1):
                try:
                    pages = self._reader.pages(resource, namespace=namespace)
                    return [parse(item) async for page in _read_ahead(pages) for item in page.items]
                except TemporaryError as error:
                    if error.status != GONE or attempt == LIST_ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _explained(self, verb: str, resource: ResourceType, namespace: str) -> Iterator[None]:
        """Turn what the API server answers into what the user can do."""
        named = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        try:
            yield
        except ForbiddenError as error:
            raise PluginError(_missing_right(verb, named, namespace, error), ExitCode.UNREACHABLE) from error
        except NotFoundError as error:
            told = f"the cluster of context {self.context} has no {named}: install the chart or the CRDs of crds/"
            raise PluginError(told, ExitCode.UNREACHABLE) from error
        except KubeError as error:
            if error.status == UNAUTHORIZED:
                told = f"the cluster does not accept the credentials of context {self.context}: log in again"
                raise PluginError(told, ExitCode.UNREACHABLE) from error
            raise UnreachableError(f"no answer from the cluster of context {self.context}: {error}") from error


async def _read_ahead(pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    """Yield the pages; while one is used, the API server makes the next, which takes as long as using it."""
    upcoming = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(pages, None))
            await asyncio.sleep(0)  # the request is sent before the page is used
            yield page
    finally:
        upcoming.cancel()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Search for no cycles among what is read: there are none, and the search takes longer than the reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _missing_right(verb: str, named: str, namespace: str, error: ForbiddenError) -> str:
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    grants = f"; the chart's ClusterRole {_role(verb, named)} grants it" if named.endswith(f".{GROUP}") else ""
    return f"the right to {verb} {named} {where} is missing{grants} ({error})"


def _role(verb: str, named: str) -> str:
    if verb != "patch":
        of_the_cluster = named.startswith((RELEASES.plural, PROFILES.plural))
        return "relora-operator-release-view" if of_the_cluster else "relora-operator-view"
    return "relora-operator-platform" if named.startswith(RELEASES.plural) else "relora-operator-edit"

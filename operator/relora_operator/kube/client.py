"""Reads and writes of the operator. Every write passes the rate limit and then the fence, right before it is sent."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from relora_contract.wellknown import FIELD_MANAGER
from relora_operator.kube.errors import ExpiredError, JsonObject, KubeError, TemporaryError
from relora_operator.kube.limiter import RateLimiter
from relora_operator.kube.resources import ResourceType
from relora_operator.kube.transport import Transport

REQUEST_SECONDS = 30.0
PAGE_SIZE = 500

_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_MERGE = {"Content-Type": "application/merge-patch+json"}
_METADATA_LIST = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"}

_OVERLOADED = frozenset({429, 503})
"""Answers that speak for the whole API server. What an admission policy says with another one is about one object."""
_LONGEST_PAUSE_SECONDS = 60.0
"""The API server asks for seconds; a page of a load balancer may ask for an hour, and be gone in a minute."""


@dataclass(frozen=True)
class Page:
    """Part of a list. All pages of one list show the same moment, that of `resource_version`."""

    items: list[JsonObject]
    resource_version: str


class Reader:
    """The API server for those who only read.

    Args:
        transport: Sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, resource: ResourceType, namespace: str, name: str) -> JsonObject:
        """Return the object as it is now.

        Raises:
            NotFoundError: There is none.
        """
        return await self._transport.request(
            "GET", resource, resource.path(namespace, name), timeout_seconds=REQUEST_SECONDS
        )

    async def pages(
        self,
        resource: ResourceType,
        *,
        namespace: str = "",
        label_selector: str | None = None,
        metadata_only: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> AsyncIterator[Page]:
        """Yield the list page by page.

        Args:
            resource: What to list.
            namespace: Empty for all namespaces.
            label_selector: By default that of the resource.
            metadata_only: Ask for metadata alone.
            page_size: Objects per page.

        Raises:
            TemporaryError: The pages took so long that the server forgot the list's moment, or another fault.
        """
        selector = resource.label_selector if label_selector is None else label_selector
        query = {"limit": str(page_size)} | ({"labelSelector": selector} if selector else {})
        while True:
            try:
                answer = await self._transport.request(
                    "GET",
                    resource,
                    resource.path(namespace),
                    query=query,
                    headers=_METADATA_LIST if metadata_only else None,
                    timeout_seconds=REQUEST_SECONDS,
                )
            except ExpiredError as error:
                raise TemporaryError(str(error), status=error.status) from error
            metadata = cast("dict[str, str]", answer.get("metadata") or {})
            yield Page(cast("list[JsonObject]", answer.get("items") or []), metadata.get("resourceVersion", ""))
            if not (token := metadata.get("continue")):
                return
            query["continue"] = token


class Client(Reader):
    """The API server as the control loop uses it.

    Args:
        transport: Sends the requests.
        limiter: Paces the writes.
        fence: Called right before each write is sent; raises when this process may no longer write.
    """

    def __init__(self, transport: Transport, *, limiter: RateLimiter, fence: Callable[[], None]) -> None:
        super().__init__(transport)
        self._limiter = limiter
        self._fence = fence

    async def create(self, resource: ResourceType, namespace: str, body: JsonObject) -> JsonObject:
        """Create an object and return it.

        Raises:
            AlreadyExistsError: One of that name exists.
        """
        return await self._write(
            "POST", resource, resource.path(namespace), body=body, query={"fieldManager": FIELD_MANAGER}
        )

    async def delete(
        self, resource: ResourceType, namespace: str, name: str, *, uid: str, resource_version: str
    ) -> JsonObject:
        """Delete an object after its dependents, only if it is still the one that was seen.

        Raises:
            ConflictError: It was replaced or has changed.
            NotFoundError: It is gone.
        """
        options: JsonObject = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        }
        return await self._write("DELETE", resource, resource.path(namespace, name), body=options)

    async def merge(self, resource: ResourceType, namespace: str, name: str, patch: JsonObject) -> JsonObject:
        """Merge `patch` into an existing object. A `metadata.uid` in it is a precondition.

        Raises:
            ConflictError: The uid is another object's.
            NotFoundError: It is gone.
        """
        return await self._write(
            "PATCH",
            resource,
            resource.path(namespace, name),
            body=patch,
            query={"fieldManager": FIELD_MANAGER},
            headers=_MERGE,
        )

    async def apply(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        body: JsonObject,
        *,
        subresource: str = "",
        force: bool = False,
    ) -> JsonObject:
        """Apply `body` by server-side apply. A `metadata.resourceVersion` in it is a precondition.

        Args:
            resource: Kind of the object.
            namespace: Empty for cluster-scoped kinds.
            name: Name of the object.
            body: The fields that this operator wants to own.
            subresource: `status`, or empty for the object itself.
            force: Take fields from other managers.

        Raises:
            FieldConflictError: Another manager owns a field and has another value there.
            ConflictError: The object has changed since `metadata.resourceVersion`.
        """
        return await self._write(
            "PATCH",
            resource,
            resource.path(namespace, name, subresource),
            body=body,
            query={"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"},
            headers=_APPLY,
        )

    async def _write(
        self,
        verb: str,
        resource: ResourceType,
        path: str,
        *,
        body: JsonObject,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> JsonObject:
        await self._limiter.acquire()
        self._fence()
        try:
            return await self._transport.request(
                verb, resource, path, body=body, query=query, headers=headers, timeout_seconds=REQUEST_SECONDS
            )
        except KubeError as error:
            if error.retry_after_seconds and error.status in _OVERLOADED:
                self._limiter.pause(min(error.retry_after_seconds, _LONGEST_PAUSE_SECONDS))
            raise

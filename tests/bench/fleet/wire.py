"""The bench's own connection to the API server: many requests at once, and watches that lose nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from controller.api import PLURALS, ApiError, Document

_SECONDS = 60.0
_AT_ONCE = 16
_PAGE = 500
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Item = TypeVar("Item")


class Wire:
    """Requests as the administrator, as an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._api: ApiClient | None = None

    async def __aenter__(self) -> Self:
        self._api = await config.new_client_from_config(config_file=str(self._kubeconfig))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    @property
    def _client(self) -> ApiClient:
        if self._api is None:
            raise AssertionError("the connection is not open")
        return self._api

    async def get(self, kind: str, name: str, namespace: str = "") -> Document:
        return await self._send("GET", f"{path(kind, namespace)}/{name}")

    async def create(self, document: Document) -> Document:
        namespace = document["metadata"].get("namespace", "")
        return await self._send("POST", path(document["kind"], namespace), document)

    async def merge(self, kind: str, name: str, patch: Document, namespace: str = "", subresource: str = "") -> None:
        where = f"{path(kind, namespace)}/{name}{subresource}"
        await self._send("PATCH", where, patch, content="application/merge-patch+json")

    async def apply(self, document: Document, manager: str, subresource: str = "") -> None:
        metadata = document["metadata"]
        where = f"{path(document['kind'], metadata.get('namespace', ''))}/{metadata['name']}{subresource}"
        query = f"?fieldManager={manager}&force=true"
        await self._send("PATCH", f"{where}{query}", document, content="application/apply-patch+yaml")

    async def delete_all(self, kind: str, namespace: str, query: str = "") -> None:
        where = f"{path(kind, namespace)}?propagationPolicy=Background{query}"
        await self._send("DELETE", where)

    async def pages(self, kind: str, query: str = "", *, accept: str = "application/json") -> AsyncIterator[Document]:
        """Yield the pages of a list over all namespaces."""
        token = ""
        while True:
            where = f"{everywhere(kind)}?limit={_PAGE}{query}{f'&continue={token}' if token else ''}"
            page = await self._send("GET", where, accept=accept)
            page["items"] = page["items"] or []  # a list of metadata alone is null when it is empty
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def all(self, kind: str, query: str = "", *, accept: str = "application/json") -> list[Document]:
        """Return every object of a kind."""
        return [item async for page in self.pages(kind, query, accept=accept) for item in page["items"]]

    async def count(self, kind: str, query: str = "") -> int:
        """Return how many objects of a kind there are."""
        where = f"{everywhere(kind)}?limit=1{query}"
        page = await self._send("GET", where, accept=METADATA_LIST)
        return len(page["items"] or []) + int(page["metadata"].get("remainingItemCount", 0))

    async def follow(
        self, kind: str, query: str = "", *, accept: str = "application/json"
    ) -> AsyncIterator[tuple[str, Document]]:
        """Yield what is there and then every event, until the task is cancelled.

        The API server ends the watch of a client that is slow to read, as in a burst of a thousand Jobs; it is taken up
        again after the last event, of which none is lost.
        """
        version = ""
        async for page in self.pages(kind, query, accept=accept.replace("Metadata", "MetadataList")):
            version = page["metadata"]["resourceVersion"]
            for item in page["items"]:
                yield "ADDED", item
        while True:
            where = f"{everywhere(kind)}?watch=true&timeoutSeconds=86400&resourceVersion={version}{query}"
            answer = await self._call("GET", where, None, {"Accept": accept}, None)
            async for line in answer.response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code", 0), event["object"].get("message", ""))
                version = event["object"]["metadata"]["resourceVersion"]
                yield event["type"], event["object"]

    async def _send(
        self,
        verb: str,
        where: str,
        body: Document | None = None,
        *,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> Document:
        headers = {"Accept": accept, "Content-Type": content}
        answer = await self._call(verb, where, body, headers, _SECONDS)
        document: Document = json.loads(await answer.read())
        if answer.status >= 300:
            raise ApiError(answer.status, document.get("message", ""))
        return document

    async def _call(
        self, verb: str, where: str, body: Document | None, headers: dict[str, str], seconds: float | None
    ) -> Any:  # noqa: ANN401 - the client library has no types
        host = self._client.configuration.host
        timeout = aiohttp.ClientTimeout(total=seconds)
        return await self._client.call_api(verb, host + where, headers, body, _request_timeout=timeout)


def path(kind: str, namespace: str) -> str:
    """Return the path of a collection."""
    return PLURALS[kind].format(namespace)


def everywhere(kind: str) -> str:
    """Return the path of a collection over all namespaces."""
    return PLURALS[kind].replace("/namespaces/{}", "")


async def at_once(
    items: Iterable[Item], work: Callable[[Item], Coroutine[Any, Any, object]], width: int = _AT_ONCE
) -> None:
    """Do `work` on every item, `width` of them at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())

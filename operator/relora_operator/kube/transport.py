"""One request to the API server: JSON in, JSON out, errors as `KubeError`, measured."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient
from prometheus_client import Histogram

from relora_operator.kube.errors import JsonObject, KubeError, TemporaryError, error_of
from relora_operator.kube.resources import ResourceType

_REDIRECT = 300
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
"""The whole exchange has one: a second clock for the same time costs a timer and a context for each request."""

_SECONDS = Histogram(
    "relora_client_request_seconds",
    "Time of a request to the API server, until its answer was read.",
    ("verb", "resource", "code"),
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 30),
)


class Transport(Protocol):
    """Sends one request. Tests put a fake in its place."""

    async def request(
        self,
        verb: str,
        resource: ResourceType,
        path: str,
        *,
        body: JsonObject | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float,
    ) -> JsonObject:
        """Return the answer.

        Args:
            verb: HTTP method.
            resource: What the request is about; the label of its metric.
            path: From `ResourceType.path`.
            body: The request's body.
            query: The request's parameters.
            headers: Content type and accepted types where they are not plain JSON.
            timeout_seconds: From the start of the request to the end of its answer.

        Raises:
            KubeError: The server refused, or did not answer in time.
        """


class HttpTransport:
    """The transport of `kubernetes.aio`, with its credentials and its connections.

    Raw JSON instead of its models, which would cost tens of megabytes, and past its serialization, which would look at
    every field of a body that is JSON already.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def request(
        self,
        verb: str,
        resource: ResourceType,
        path: str,
        *,
        body: JsonObject | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float,
    ) -> JsonObject:
        """See `Transport`."""
        started = time.monotonic()
        code = "none"
        try:
            status, content, answer_headers = await self._exchange(
                verb, path, body=body, query=query or {}, headers=headers or {}, timeout_seconds=timeout_seconds
            )
            code = str(status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TemporaryError(f"{verb} {path}: {_in_words(error)}") from error
        finally:
            _SECONDS.labels(verb, resource.plural, code).observe(time.monotonic() - started)
        if status >= _REDIRECT:
            raise error_of(status, content, answer_headers, f"{verb} {path}")
        return _decoded(content, f"{verb} {path}")

    async def _exchange(
        self,
        verb: str,
        path: str,
        *,
        body: JsonObject | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        timeout_seconds: float,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        configuration = self._api.configuration
        credentials: str | None = await configuration.get_api_key_with_prefix("BearerToken")
        all_headers = {
            **self._api.default_headers,
            "Accept": "application/json",
            "Content-Type": "application/json",
            **({"Authorization": credentials} if credentials else {}),
            **headers,
        }
        async with asyncio.timeout(timeout_seconds):
            answer = await self._api.call_api(
                verb,
                f"{configuration.host}{path}{f'?{urlencode(query)}' if query else ''}",
                header_params=all_headers,
                body=body,
                _request_timeout=_NO_TIMEOUT,
            )
            return answer.status, await answer.read(), answer.headers

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


def _decoded(content: bytes, request: str) -> JsonObject:
    try:
        decoded = json.loads(content)
    except ValueError as error:
        raise TemporaryError(f"{request}: the answer is not JSON") from error
    if not isinstance(decoded, dict):
        raise KubeError(f"{request}: the answer is not an object")
    return decoded


def _in_words(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"

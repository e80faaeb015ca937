"""The transport of the operator and of the plugin, without a network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from relora_operator.kube.errors import JsonObject
from relora_operator.kube.resources import ResourceType


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request."""

    verb: str
    resource: ResourceType
    path: str
    body: JsonObject | None
    query: Mapping[str, str]
    headers: Mapping[str, str]
    timeout_seconds: float

    @property
    def lists(self) -> bool:
        """Whether it asks for every object of a kind."""
        return self.verb == "GET" and self.path.endswith(f"/{self.resource.plural}")


@dataclass(kw_only=True)
class FakeTransport(ABC):
    """Notes every request, and answers as the fake says that takes its place.

    Attributes:
        sent: The requests so far.
    """

    sent: list[Sent] = field(default_factory=list)

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
        """See `relora_operator.kube.transport.Transport`."""
        assert timeout_seconds > 0
        request = Sent(
            verb=verb,
            resource=resource,
            path=path,
            body=body,
            query=query or {},
            headers=headers or {},
            timeout_seconds=timeout_seconds,
        )
        self.sent.append(request)
        return self.answer(request)

    @abstractmethod
    def answer(self, sent: Sent) -> JsonObject:
        """Return the answer to a request, or raise what the client makes of a refusal."""

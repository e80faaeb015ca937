"""What the API server can answer instead of a result, as the few cases that callers tell apart."""

from collections.abc import Mapping

from pydantic import Field, ValidationError
from pydantic.types import JsonValue

from relora_contract.model import Model


class KubeError(Exception):
    """A request to the API server that had no result.

    Attributes:
        status: The HTTP status, or 0 when there was no answer.
        retry_after_seconds: How long the server asked to wait.
        answer: The server's words alone.
    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after_seconds: float | None = None, answer: str | None = None
    ) -> None:
        super().__init__(message)
        self.answer = answer or message
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class NotFoundError(KubeError):
    """The object, its namespace or its kind does not exist."""


class AlreadyExistsError(KubeError):
    """A create found an object of that name."""


class ConflictError(KubeError):
    """The object is not the one that the precondition named: it changed, or it was replaced."""


class FieldConflictError(ConflictError):
    """A server-side apply would change a field that another manager owns."""


class ForbiddenError(KubeError):
    """Refused by RBAC, quota, admission, or because the namespace terminates."""


class InvalidError(KubeError):
    """Refused because the object is not valid: another try with the same content ends the same way."""


class ExpiredError(KubeError):
    """A paged list took so long that its snapshot is gone; it has to start again."""


class TemporaryError(KubeError):
    """No answer, too many requests, or a fault of the server: the write may or may not have happened."""


class _Cause(Model):
    reason: str = ""


class _Details(Model):
    causes: list[_Cause] = Field(default_factory=list)
    retry_after_seconds: float | None = None


class _Status(Model):
    message: str = ""
    reason: str = ""
    details: _Details = Field(default_factory=_Details)


def error_of(status: int, body: bytes, headers: Mapping[str, str], request: str) -> KubeError:
    """Return the error for an answer with an HTTP status of 300 or more.

    Args:
        status: The HTTP status.
        body: The answer's body, a `meta/v1 Status` or whatever a proxy in between wrote.
        headers: The answer's headers.
        request: The request in words, for the message.
    """
    answer = _read(body)
    wait = _retry_after(headers) or answer.details.retry_after_seconds
    kind = _kind_of(status, answer)
    message = answer.message or f"the API server answered {status}"
    return kind(f"{request}: {message}", status=status, retry_after_seconds=wait, answer=message)


def _read(body: bytes) -> _Status:
    try:
        return _Status.model_validate_json(body)
    except ValidationError:
        return _Status()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


_KINDS: dict[int, type[KubeError]] = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    410: ExpiredError,
    413: InvalidError,
    422: InvalidError,
}


def _kind_of(status: int, answer: _Status) -> type[KubeError]:
    match status, answer.reason:
        case 409, "AlreadyExists":
            return AlreadyExistsError
        case 409, _ if any(cause.reason == "FieldManagerConflict" for cause in answer.details.causes):
            return FieldConflictError
        case 409, _:
            return ConflictError
        case _:
            return _KINDS.get(status, TemporaryError)


JsonObject = dict[str, JsonValue]
"""A JSON object as the API server sends and takes it."""

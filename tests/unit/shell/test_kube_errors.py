import json

import pytest

from relora_operator.kube.errors import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    FieldConflictError,
    ForbiddenError,
    InvalidError,
    KubeError,
    NotFoundError,
    TemporaryError,
    error_of,
)


def status(reason: str, *causes: str) -> bytes:
    return json.dumps(
        {
            "kind": "Status",
            "message": "the server's words",
            "reason": reason,
            "details": {"causes": [{"reason": cause} for cause in causes]},
        }
    ).encode()


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (404, status("NotFound"), NotFoundError),
        (409, status("AlreadyExists"), AlreadyExistsError),
        (409, status("Conflict"), ConflictError),
        (409, status("Conflict", "FieldManagerConflict"), FieldConflictError),
        (403, status("Forbidden"), ForbiddenError),
        (422, status("Invalid"), InvalidError),
        (410, status("Expired"), ExpiredError),
        (401, status("Unauthorized"), TemporaryError),
        (429, status("TooManyRequests"), TemporaryError),
        (500, status("InternalError"), TemporaryError),
        (502, b"<html>Bad Gateway</html>", TemporaryError),
        (503, b"", TemporaryError),
    ],
)
def test_each_answer_becomes_its_error(code: int, body: bytes, kind: type[KubeError]) -> None:
    error = error_of(code, body, {}, "GET /x")

    assert type(error) is kind
    assert error.status == code
    assert str(error).startswith("GET /x: ")


def test_the_servers_words_reach_the_reader() -> None:
    assert "the server's words" in str(error_of(403, status("Forbidden"), {}, "POST /x"))


def test_the_wait_comes_from_the_header_or_else_from_the_status() -> None:
    body = json.dumps({"details": {"retryAfterSeconds": 3}}).encode()

    assert error_of(429, body, {"Retry-After": "7"}, "GET /x").retry_after_seconds == 7
    assert error_of(429, body, {}, "GET /x").retry_after_seconds == 3
    assert error_of(429, b"", {}, "GET /x").retry_after_seconds is None

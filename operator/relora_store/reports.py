"""Step reports and pages: one per request and step, written once. The first one stands, whoever wrote it."""

from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from relora_contract.digests import canonical_json, sha256_digest
from relora_contract.report import StepReport, page_key, picture_key, report_key
from relora_store.errors import IntegrityError, NotFoundError
from relora_store.objects import AlreadyExistsError
from relora_store.store import Store, create_or_read, read_record


@dataclass(frozen=True)
class StoredReport:
    """A report as it lies in the store, and the digest of its bytes."""

    report: StepReport
    digest: str


def publish_report(store: Store, report: StepReport) -> StoredReport:
    """Store a report, unless there is one, and return what is stored.

    A repeated or a second, different report of the same step never replaces the first: its verdict may have been
    acted on.

    Raises:
        IntegrityError: What is stored in its place is not a report of this request and step.
    """
    key = report_key(report.request_digest, report.step)
    return _parse(create_or_read(store, key, canonical_json(report.to_json())), report.request_digest, report.step)


def read_report(store: Store, request_digest: str, step: str) -> StoredReport | None:
    """Return the stored report of a step, or None.

    Raises:
        IntegrityError: What is stored in its place is not a report of this request and step.
    """
    data = read_record(store, report_key(request_digest, step))
    return None if data is None else _parse(data, request_digest, step)


def find_page(store: Store, request_digest: str, step: str) -> str | None:
    """Return the URI of the page of a re-adaptation that ended with `step`, or None where there is none."""
    key = page_key(request_digest, step)
    try:
        store.objects.size(key)
    except NotFoundError:
        return None
    return f"{store.uri}/{key}"


def publish_page(store: Store, request_digest: str, step: str, page: bytes, picture: bytes) -> str:
    """Store the page of a re-adaptation beside its reports, unless there is one, and return its URI.

    The page comes last: where it is, the picture is.
    """
    for key, data in ((picture_key(request_digest, step), picture), (page_key(request_digest, step), page)):
        with suppress(AlreadyExistsError):
            store.objects.create(key, data)
    return f"{store.uri}/{page_key(request_digest, step)}"


def _parse(data: bytes, request_digest: str, step: str) -> StoredReport:
    key = report_key(request_digest, step)
    try:
        report = StepReport.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{key} is not a report that this version reads") from error
    if (report.request_digest, report.step) != (request_digest, step):
        raise IntegrityError(f"{key} holds the report of another request or step")
    return StoredReport(report, sha256_digest(data))

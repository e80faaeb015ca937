"""The page for people: drawn once a re-adaptation has come to its end, and stored beside the report that ended it."""

import logging
from collections.abc import Mapping
from pathlib import Path

from relora_contract.report import Step, StepReport
from relora_contract.request import DeltaRequest, ReadaptationRequest
from relora_trainer.errors import ConfigurationError
from relora_trainer.optional import optional
from relora_trainer.ports import ArtifactStore
from relora_trainer.standing import digest_of, ending_step, standing_reports
from relora_trainer.workspace import Workspace

LOG = logging.getLogger(__name__)


def keep_page(
    request: DeltaRequest | ReadaptationRequest, reports: Mapping[Step, StepReport], store: ArtifactStore
) -> str | None:
    """Store the page of a re-adaptation, once, if it has come to its end, and return the page's URI.

    The reports are what counts. A page that cannot be drawn or stored is a line in the log, and None.

    Args:
        request: The request; the delta of two bases has no page.
        reports: Of its steps so far, in order.
        store: Holds the reports.
    """
    return optional("the page", lambda: _keep(request, reports, store))


def _keep(
    request: DeltaRequest | ReadaptationRequest, reports: Mapping[Step, StepReport], store: ArtifactStore
) -> str | None:
    step = ending_step(request, reports)
    if step is None or isinstance(request, DeltaRequest):
        return None
    if (known := store.find_page(digest_of(request), step)) is not None:
        return known
    # matplotlib takes a second to import, which the steps that end nothing do not need.
    from relora_trainer.page.document import page, picture  # noqa: PLC0415

    uri = store.write_page(digest_of(request), step, page(request, reports), picture(request, reports))
    LOG.info("page: %s", uri)
    return uri


def draw_page(request: ReadaptationRequest, store: ArtifactStore, work: Path) -> dict[str, bytes]:
    """Return the files of the page of what is stored, by name, whether the re-adaptation has come to its end or not.

    Raises:
        ConfigurationError: Nothing is stored.
    """
    reports = standing_reports(request, store, Workspace(work, store))
    if not reports:
        raise ConfigurationError(f"the store {request.store_uri} has no report of {digest_of(request)}")
    from relora_trainer.page.document import page, picture  # noqa: PLC0415

    return {"page.html": page(request, reports).encode(), "page.png": picture(request, reports)}

"""Reports: the first one stands."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from relora_contract.digests import sha256_digest
from relora_contract.report import StepOutcome, StepReport, page_key, picture_key, report_key
from relora_store.errors import IntegrityError
from relora_store.reports import find_page, publish_page, publish_report, read_report
from samples.artifacts import D1, D2
from samples.places import Place


def report(seconds: int = 0, digest: str = D1) -> StepReport:
    return StepReport(
        request_digest=digest,
        step="port",
        outcome=StepOutcome.SUCCEEDED,
        start_time="2026-01-01T00:00:00Z",
        end_time=f"2026-01-01T00:00:{seconds:02}Z",
    )


def test_a_report_is_stored_at_its_place(place: Place) -> None:
    stored = publish_report(place.store, report())
    assert stored.report == report()
    assert stored.digest == sha256_digest(place.objects.read(report_key(D1, "port"), 10_000))
    assert read_report(place.store, D1, "port") == stored


def test_there_is_none_at_first(place: Place) -> None:
    assert read_report(place.store, D1, "port") is None


def test_the_same_report_again_is_no_error(place: Place) -> None:
    assert publish_report(place.store, report()) == publish_report(place.store, report())


def test_a_later_report_does_not_replace_the_first(place: Place) -> None:
    first = publish_report(place.store, report(1))
    assert publish_report(place.store, report(2)) == first
    assert read_report(place.store, D1, "port") == first


def test_eight_writers_are_told_the_same_report(place: Place) -> None:
    together = Barrier(8)

    def run(number: int) -> str:
        together.wait()
        return publish_report(place.store, report(number)).digest

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(run, range(8)))) == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", report(digest=D2).model_dump_json().encode()])
def test_something_else_in_its_place_is_an_error(local_place: Place, data: bytes) -> None:
    local_place.put(report_key(D1, "port"), data)
    with pytest.raises(IntegrityError, match="report"):
        read_report(local_place.store, D1, "port")


def test_a_page_lies_beside_the_report_and_the_first_one_stands(place: Place) -> None:
    publish_report(place.store, report())
    assert find_page(place.store, D1, "port") is None
    uri = publish_page(place.store, D1, "port", b"<p>first", b"picture")
    assert uri == f"{place.uri}/{report_key(D1, 'port').removesuffix('.json')}.html"
    assert publish_page(place.store, D1, "port", b"<p>second", b"other") == uri
    assert find_page(place.store, D1, "port") == uri
    assert place.objects.read(page_key(D1, "port"), 100) == b"<p>first"
    assert place.objects.read(picture_key(D1, "port"), 100) == b"picture"
    assert read_report(place.store, D1, "port") is not None

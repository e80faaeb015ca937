"""Readings of a test file: each counts once, whoever asked and however often it was interrupted."""

from dataclasses import replace

import pytest

from relora_contract.digests import hex_part
from relora_contract.report import SplitUse
from relora_store.readings import Reading, note_reading
from samples.artifacts import D1, D2, D3
from samples.places import Place

FIRST = Reading(test_digest=D1, request_digest=D2, step="port", gates_digest=D3)


def note(place: Place, reading: Reading) -> SplitUse:
    return note_reading(place.filesystems, place.uri, reading)


def test_the_first_reading_of_a_file_has_none_before_it(place: Place) -> None:
    assert note(place, FIRST) == SplitUse(readings=0, requests=0)
    key = f"readings/{hex_part(D1)}/{hex_part(D2)}/port-{hex_part(D3)[:16]}"
    assert place.objects.sizes() == {key: 0}


def test_a_repeated_reading_counts_once(place: Place) -> None:
    note(place, replace(FIRST, step="fuse"))
    assert [note(place, FIRST) for _ in range(3)] == [SplitUse(readings=1, requests=0)] * 3


def test_what_a_killed_writer_left_is_no_reading(place: Place) -> None:
    place.put(f"readings/{hex_part(D1)}/{hex_part(D2)}/.new-x1y2", b"")
    assert note(place, FIRST) == SplitUse(readings=0, requests=0)


@pytest.mark.parametrize(
    ("other", "use"),
    [
        (replace(FIRST, step="fuse"), SplitUse(readings=1, requests=0)),
        (replace(FIRST, gates_digest=D1), SplitUse(readings=1, requests=0)),
        (replace(FIRST, request_digest=D3), SplitUse(readings=1, requests=1)),
        (replace(FIRST, test_digest=D3), SplitUse(readings=0, requests=0)),
    ],
)
def test_what_else_was_asked_on_the_same_file_counts(place: Place, other: Reading, use: SplitUse) -> None:
    note(place, other)
    assert note(place, FIRST) == use


def test_requests_are_counted_once_each(place: Place) -> None:
    for request in (D1, D3):
        for step in ("port", "fuse", "recover"):
            note(place, replace(FIRST, request_digest=request, step=step))
    assert note(place, FIRST) == SplitUse(readings=6, requests=2)

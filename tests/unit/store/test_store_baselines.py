"""Baselines: the first note of where outcomes lie stands."""

import pytest

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_store.baselines import find_baseline, note_baseline
from relora_store.errors import IntegrityError
from samples.artifacts import D1, D2, D3
from samples.places import Place

FIRST, SECOND = (ArtifactRef(uri=f"s3://adapters/{name}", digest=D3) for name in ("first", "second"))


def test_the_first_note_is_found(place: Place) -> None:
    store = place.store
    assert find_baseline(store, D1) is None
    note_baseline(store, D1, FIRST)
    note_baseline(store, D1, SECOND)
    assert find_baseline(store, D1) == FIRST
    assert find_baseline(store, D2) is None


def test_what_names_no_artifact_is_refused(place: Place) -> None:
    place.objects.create(f"baselines/{hex_part(D1)}.json", b"{}")
    with pytest.raises(IntegrityError, match="does not name an artifact"):
        find_baseline(place.store, D1)

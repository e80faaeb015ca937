"""A newer state of an object is parsed as the whole object would be; its spec is taken over where it cannot differ."""

from typing import Any

import pytest

from relora_contract.api.binding import AdapterBinding
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import UnreadableError, identity, parse_newer, parse_own
from samples.kinds import binding

CONDITION = {"type": "Ready", "status": "True", "reason": "Promoted", "lastTransitionTime": "2026-11-01T10:00:00Z"}


def state(version: str, *, generation: int = 1, uid: str = "u1", **parts: object) -> JsonObject:
    document: dict[str, Any] = binding("one")
    metadata = {"uid": uid, "generation": generation, "resourceVersion": version, "labels": {"version": version}}
    return {**document, "metadata": {**document["metadata"], **metadata}, **parts}


@pytest.mark.parametrize("status", [{}, {"status": {"observedGeneration": 1, "conditions": [CONDITION]}}])
def test_a_state_of_the_same_generation_shares_the_spec(status: dict[str, Any]) -> None:
    before = parse_own(AdapterBinding, state("5", status={"observedGeneration": -1}))

    newer = parse_newer(AdapterBinding, state("6", **status), before)

    assert newer.spec is before.spec
    assert newer == parse_own(AdapterBinding, state("6", **status))
    assert before.metadata.resource_version == "5"


@pytest.mark.parametrize(("uid", "generation"), [("u2", 1), ("u1", 2), ("u1", 0)])
def test_another_generation_or_object_has_a_spec_of_its_own(uid: str, generation: int) -> None:
    before = parse_own(AdapterBinding, state("5"))
    changed = binding("one", servedName="renamed")["spec"]

    newer = parse_newer(AdapterBinding, state("6", uid=uid, generation=generation, spec=changed), before)

    assert newer.spec.served_name == "renamed"


def test_an_unreadable_status_is_found_out() -> None:
    before = parse_own(AdapterBinding, state("5"))

    with pytest.raises(UnreadableError, match="observedGeneration"):
        parse_newer(AdapterBinding, state("6", status={"observedGeneration": "many"}), before)


@pytest.mark.parametrize("metadata", [None, {}, {"name": 1}, {"name": "a", "uid": 1}, {"name": ""}])
def test_an_object_without_usable_metadata_has_no_identity(metadata: object) -> None:
    raw: Any = {"metadata": metadata}

    with pytest.raises(UnreadableError, match="metadata"):
        identity(raw)

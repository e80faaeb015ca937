"""Argo CD's health of every status that the operator writes: the same verdict as that of Flux."""

from pathlib import Path
from typing import Any

import pytest
from lupa.lua51 import LuaError

from gitops.argocd import Health, health
from gitops.kstatus import Document, Verdict, verdict
from gitops.recorded import PLAYED, recorded

SCRIPT = (Path(__file__).parents[3] / "charts/relora-operator/files/argocd/health.lua").read_text(encoding="utf-8")
SAME = {Verdict.CURRENT: "Healthy", Verdict.IN_PROGRESS: "Progressing", Verdict.FAILED: "Degraded"}


def told(document: Document) -> Health:
    return health(SCRIPT, document)


def given(*conditions: tuple[str, str], generation: int = 1, observed: int = 1) -> dict[str, Any]:
    listed = [{"type": kind, "status": status, "reason": kind, "message": "…"} for kind, status in conditions]
    return {"metadata": {"generation": generation}, "status": {"observedGeneration": observed, "conditions": listed}}


@pytest.mark.parametrize("name", PLAYED)
def test_every_status_that_was_ever_written_has_the_health_that_flux_sees(name: str) -> None:
    distinct = {repr((one["kind"], one["metadata"]["generation"], one["status"])): one for one in recorded(name)}
    for document in distinct.values():
        # Flux cannot know that a status without conditions is one that nobody has written yet.
        assert told(document).status == SAME[verdict(document)] or not document["status"].get("conditions")


@pytest.mark.parametrize(
    ("reason", "kind", "status"),
    [
        ("Queued", "AdapterBinding", "Healthy"),
        ("GateFailed", "AdapterBinding", "Healthy"),
        ("AwaitingBindings", "AdapterServer", "Healthy"),
        ("RolledBack", "AdapterServer", "Healthy"),
        ("CompletedWithFailures", "BaseModelRelease", "Healthy"),
        ("InvalidData", "AdapterBinding", "Degraded"),
        ("TargetNotFound", "AdapterServer", "Degraded"),
        ("ForkedLineage", "BaseModelRelease", "Degraded"),
        ("RollingOut", "AdapterServer", "Progressing"),
        ("NoBindings", "AdapterServer", "Healthy"),
    ],
)
def test_the_message_tells_what_goes_on(reason: str, kind: str, status: str) -> None:
    documents = [document for document in recorded(reason) if document["kind"] == kind]
    messages = {found.message for document in documents if (found := told(document)).status == status}
    assert any(message.startswith(f"{reason}: ") and len(message) > len(reason) + 2 for message in messages)


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"generation": 1}},
        {"metadata": {"generation": 1}, "status": {"observedGeneration": -1}},
        given(("Ready", "True"), generation=2),
        given(("Accepted", "True")),
    ],
)
def test_what_the_operator_has_not_seen_is_progressing(document: Document) -> None:
    assert told(document) == Health("Progressing", "the operator has not seen this version of the object yet")


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (given(("Ready", "True")), "Healthy"),
        (given(("Ready", "True"), ("Stalled", "False"), ("Reconciling", "False")), "Healthy"),
        (given(("Ready", "True"), ("Reconciling", "True")), "Progressing"),
        (given(("Ready", "Unknown")), "Progressing"),
        (given(("Ready", "True"), ("Stalled", "True")), "Degraded"),
    ],
)
def test_conditions_decide(document: Document, status: str) -> None:
    assert told(document).status == status


def test_a_condition_without_a_message_is_told_by_its_reason() -> None:
    document = given(("Ready", "True"))
    del document["status"]["conditions"][0]["message"]
    assert told(document) == Health("Healthy", "Ready: ")


def test_the_interpreter_offers_no_more_than_that_of_argo_cd() -> None:
    for script in (
        "return {status = string.upper('x'), message = ''}",
        "return {status = ('x'):upper(), message = ''}",
    ):
        with pytest.raises(LuaError, match="attempt to index"):
            health(script, {})

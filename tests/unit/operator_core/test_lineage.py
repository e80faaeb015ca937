import pytest

from fleet.builders import MODEL, make_binding, make_namespace, make_release, timestamp_of
from relora_contract.api.meta import Condition, ConditionStatus
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.eligibility import newest_eligible
from relora_operator.core.lineage import chain
from relora_operator.core.reasons import Reason


def accepted_before(release: BaseModelRelease) -> BaseModelRelease:
    condition = Condition(
        type="Accepted", status=ConditionStatus.TRUE, reason="Accepted", last_transition_time=timestamp_of(0)
    )
    return release.model_copy(update={"status": release.status.model_copy(update={"conditions": [condition]})})


R1 = make_release("r1")
R2 = make_release("r2", "r1", minutes=10)
R3 = make_release("r3", "r2", minutes=20)

TABLE: dict[str, tuple[list[BaseModelRelease], list[str], dict[str, Reason]]] = {
    "nothing": ([], [], {}),
    "a chain in any order": ([R3, R1, R2], ["r1", "r2", "r3"], {}),
    "a fork blames the younger child": (
        [R1, make_release("a-late", "r1", minutes=30), R2],
        ["r1", "r2"],
        {"a-late": Reason.FORKED_LINEAGE},
    ),
    "of children of one age the first name wins": (
        [R1, make_release("b", "r1", minutes=10), make_release("a", "r1", minutes=10)],
        ["r1", "a"],
        {"b": Reason.FORKED_LINEAGE},
    ),
    "descendants of a refused release are refused": (
        [R1, R2, make_release("x", "r1", minutes=30), make_release("y", "x", minutes=5)],
        ["r1", "r2"],
        {"x": Reason.FORKED_LINEAGE, "y": Reason.PREDECESSOR_NOT_ACCEPTED},
    ),
    "a cycle and what hangs on it": (
        [R1, make_release("x", "y"), make_release("y", "x"), make_release("z", "y")],
        ["r1"],
        {"x": Reason.CYCLE_DETECTED, "y": Reason.CYCLE_DETECTED, "z": Reason.PREDECESSOR_NOT_ACCEPTED},
    ),
    "a second root": ([R1, make_release("r0", minutes=5)], ["r1"], {"r0": Reason.SECOND_ROOT}),
    "a release of another model is no predecessor": (
        [make_release("other", model="huge"), make_release("x", "other")],
        [],
        {"x": Reason.MODEL_MISMATCH},
    ),
    "a missing predecessor": ([R2], [], {"r2": Reason.PREDECESSOR_NOT_FOUND}),
    "a pruned root leaves the chain as it is": ([accepted_before(R2), R3], ["r2", "r3"], {}),
    "a pruned link leaves the chain as it is": ([R1, accepted_before(R3)], ["r1", "r3"], {}),
    "after pruning the root no other root comes in": (
        [accepted_before(R2), R3, make_release("again", minutes=40)],
        ["r2", "r3"],
        {"again": Reason.SECOND_ROOT},
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_chain(case: str) -> None:
    releases, order, refused = TABLE[case]
    found = chain(MODEL, releases)
    assert [release.metadata.name for release in found.releases] == order
    assert {name: refusal.reason for name, refusal in found.refused.items()} == refused


def test_newer_than_a_deleted_release_is_what_was_created_after_its_promotion() -> None:
    found = chain(MODEL, [R1, R2, R3])
    assert [release.metadata.name for release in found.after("gone", timestamp_of(15))] == ["r3"]
    assert found.after("gone", None) == ()
    assert [release.metadata.name for release in found.after("r1", None)] == ["r2", "r3"]


def test_newer_than_a_pruned_release_are_its_successor_and_what_follows_whenever_they_came() -> None:
    found = chain(MODEL, [accepted_before(R2), R3])
    assert [release.metadata.name for release in found.after("r1", timestamp_of(15))] == ["r2", "r3"]


def test_the_newest_release_that_admits_the_namespace_is_eligible() -> None:
    gold = {"selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}]}}
    found = chain(MODEL, [R1, R2, make_release("r3", "r2", minutes=20, allowedNamespaces=gold)])

    def newest(policy: dict[str, str], **labels: str) -> str | None:
        binding = make_binding(updatePolicy=policy).build()
        release = newest_eligible(found, binding, make_namespace("team", **labels), {})
        return release.metadata.name if release is not None else None

    assert newest({}, tier="gold") == "r3"
    assert newest({}) == "r2"
    assert newest({"mode": "Manual"}) is None
    assert newest({"mode": "Manual", "approvedReleaseName": "r1"}, tier="gold") == "r1"
    assert newest({"mode": "Manual", "approvedReleaseName": "r3"}) is None

"""What is refused by the operator or by the trainer: with a documented reason, and serving stays as it was."""

import pytest

from e2e import facts
from e2e.shelf import MAX_RANK
from e2e.world import ALL_STEPS, WORKLOAD, Stage

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("bad")
def test_bad_adapters_and_data_are_refused_by_the_trainer(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace, maxLoRARank=MAX_RANK)
    shelf, bad = stage.world.shelf, stage.world.shelf.bad
    seat = (namespace, server.name)
    good = stage.apply_binding("good", namespace, server=seat)
    missing = stage.apply_binding("no-data", namespace, data={"train": shelf.data_missing}, server=seat)
    expected = {
        missing: "InvalidData",
        stage.apply_binding("label", namespace, data={"test": shelf.data_with_strange_label}): "InvalidData",
        stage.apply_binding("field", namespace, data={"test": shelf.data_without_field}): "InvalidData",
        stage.apply_binding("rank", namespace, adapter=bad.of_higher_rank, server=seat): "PreflightFailed",
        stage.apply_binding("shapes", namespace, adapter=bad.of_other_shapes): "Incompatible",
        stage.apply_binding("pickle", namespace, adapter=bad.with_pickle): "IntegrityFailed",
        stage.apply_binding("code", namespace, adapter=bad.with_code): "IntegrityFailed",
        stage.apply_binding("truncated", namespace, adapter=bad.truncated): "IntegrityFailed",
        stage.apply_binding("header", namespace, adapter=bad.with_huge_header): "IntegrityFailed",
        stage.apply_binding("digest", namespace, adapter=bad.of_other_digest): "IntegrityFailed",
        stage.apply_binding("nan", namespace, adapter=bad.with_nan): "NonFiniteLoss",
    }
    stage.await_served(server, stage.r1, 3)

    release = stage.apply_second_release(rollout={"failureBudget": {"maxFailed": "100%"}})
    for ref, reason in expected.items():
        stage.await_condition(ref, "UpToDate", "False", reason)
    stage.await_condition(good, "UpToDate", "False", "ServerBlocked")
    done = stage.await_condition(release, "Complete", "True", "CompletedWithFailures")

    counts = done["status"]["bindings"]
    # The good one passed, and waits for the other members of its server.
    assert (counts["failed"], counts["passed"], counts["promoted"]) == (len(expected), 1, 0)
    assert {release_name for release_name, _ in stage.sets(namespace)} == {stage.r1}
    assert [answer["release"] for answer in stage.served_by_pods(namespace)] == [stage.r1]
    stage.await_blockers(server, {"no-data": "InvalidData", "rank": "PreflightFailed"})
    for ref in expected:
        thing = stage.current(ref)
        assert thing["status"]["current"]["releaseName"] == stage.r1
        assert facts.message(thing, "UpToDate")
    assert len(stage.jobs_ever(namespace, "readaptation")) == len(expected) + 1, "a refused request was tried again"


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param("base_of_other_digest", marks=pytest.mark.scenario("digest")),
        pytest.param("base_with_nan", marks=pytest.mark.scenario("nan")),
    ],
)
def test_release_with_bad_weights_fails_before_any_adapter_is_touched(stage: Stage, weights: str) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace)
    binding = stage.apply_binding("classifier", namespace, readaptation=ALL_STEPS, server=(namespace, server.name))
    stage.await_served(server, stage.r1, 1)

    release = stage.apply_release(stage.r2, getattr(stage.world.shelf, weights), supersedes=stage.r1)
    thing = stage.await_condition(release, "Ready", "False", "DeltaFailed")
    stage.await_condition(binding, "UpToDate", "False", "DeltaFailed")

    told = facts.message(thing, "Ready")
    assert ("digest" if weights == "base_of_other_digest" else "NaN") in told
    assert not stage.jobs_ever(namespace, "readaptation")
    assert [release_name for release_name, _ in stage.sets(namespace)] == [stage.r1]
    assert facts.condition(stage.current(binding), "Ready") == ("True", "Promoted")


@pytest.mark.scenario("tokenizer")
def test_release_with_another_tokenizer_fits_no_adapter(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace)
    binding = stage.apply_binding("classifier", namespace, server=(namespace, server.name))
    stage.await_served(server, stage.r1, 1)

    stage.apply_release(stage.r2, stage.world.shelf.base_of_other_tokenizer, supersedes=stage.r1)
    thing = stage.await_condition(binding, "UpToDate", "False", "Incompatible")

    assert "the tokenizers differ in" in facts.message(thing, "UpToDate")
    assert facts.condition(thing, "Ready") == ("True", "Promoted")
    assert [release_name for release_name, _ in stage.sets(namespace)] == [stage.r1]


@pytest.mark.scenario("contradiction")
def test_objects_that_contradict_others_are_refused_by_the_operator(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace)
    binding = stage.apply_binding("classifier", namespace, server=(namespace, server.name))
    stage.await_served(server, stage.r1, 1)

    rival = stage.apply_second_server("rival", namespace, target=WORKLOAD)
    stage.apply_workload("unwilling", namespace, consent=None)
    uninvited = stage.apply_second_server("uninvited", namespace, target="unwilling")
    homeless = stage.apply_binding("homeless", namespace, server=(namespace, "nowhere"))
    stage.await_condition(rival, "Stalled", "True")
    stage.await_condition(uninvited, "Stalled", "True", "ConsentMissing")
    stage.await_condition(homeless, "Ready", "False", "ServerNotFound")
    assert stage.sets(namespace, "unwilling") == []

    without_profile = stage.apply_release(
        stage.r2, stage.world.shelf.base_r2, supersedes=stage.r1, profileRef={"name": "nowhere"}
    )
    stage.await_condition(without_profile, "Ready", "False", "ProfileNotFound")
    second_child = stage.apply_release(f"{stage.r2}-fork", stage.world.shelf.base_r2_again, supersedes=stage.r1)
    stage.await_condition(second_child, "Accepted", "False", "ForkedLineage")
    orphan = stage.apply_release(f"{stage.name}-r9", stage.world.shelf.base_r2_again, supersedes="nowhere")
    stage.await_condition(orphan, "Accepted", "False", "PredecessorNotFound")

    stage.await_condition(binding, "UpToDate", "False", "ProfileNotFound")
    assert not stage.world.chronicle.ever("Job", namespace)
    assert [release_name for release_name, _ in stage.sets(namespace)] == [stage.r1]
    assert facts.condition(stage.current(server), "Ready") == ("True", "Promoted")

"""What fails its gate never reaches traffic."""

import pytest

from e2e import facts
from e2e.world import Stage

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("gate")
def test_old_set_keeps_serving_when_the_gate_fails(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace)
    binding = stage.apply_binding("classifier", namespace, server=(namespace, server.name))
    stage.await_served(server, stage.r1, 1)

    release = stage.apply_release(stage.r2, stage.world.shelf.base_beyond_repair, supersedes=stage.r1)
    thing = stage.await_condition(binding, "UpToDate", "False", "GateFailed")
    done = stage.await_condition(release, "Complete", "True")

    assert "Accuracy" in facts.message(thing, "UpToDate")
    assert facts.condition(thing, "Ready") == ("True", "Promoted")
    assert thing["status"]["current"]["releaseName"] == stage.r1
    [step] = thing["status"]["candidate"]["steps"]
    assert (step["outcome"], step["verdict"]) == ("Succeeded", "Failed")
    assert done["status"]["bindings"]["failed"] == 1
    assert {"namespace": namespace, "name": "classifier", "reason": "GateFailed"} in done["status"]["failureSamples"]
    blocked = stage.await_blockers(server, {"classifier": "GateFailed"})
    assert blocked["status"]["current"]["releaseName"] == stage.r1
    assert [release_name for release_name, _ in stage.sets(namespace)] == [stage.r1]
    assert [answer["release"] for answer in stage.served_by_pods(namespace)] == [stage.r1]
    assert len(stage.jobs_ever(namespace, "readaptation")) == 1


@pytest.mark.scenario("regated")
def test_changed_gates_promote_a_stored_adapter_without_another_attempt(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    binding = stage.apply_binding("classifier", namespace)
    stage.await_condition(binding, "Ready", "True")
    stage.apply_release(stage.r2, stage.world.shelf.base_beyond_repair, supersedes=stage.r1)
    refused = stage.await_condition(binding, "UpToDate", "False", "GateFailed")
    stored = stage.world.bucket.reports(stage.store_uri(namespace))

    stage.apply_binding("classifier", namespace, gates=[{"metric": "Accuracy", "threshold": "0.01"}])
    thing = stage.await_condition(binding, "UpToDate", "True")

    assert thing["status"]["current"]["releaseName"] == stage.r2
    [before], [after] = refused["status"]["candidate"]["steps"], thing["status"]["candidate"]["steps"]
    assert (before["verdict"], after["verdict"]) == ("Failed", "Passed")
    assert before["adapterDigest"] == after["adapterDigest"] == thing["status"]["current"]["adapter"]["digest"]
    assert len(stage.jobs_ever(namespace, "readaptation")) == 1
    [judging] = stage.jobs_ever(namespace, "report")
    [container] = judging["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["report", "port"]
    assert stage.world.bucket.reports(stage.store_uri(namespace)) == stored

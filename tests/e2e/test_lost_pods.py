"""A pod may vanish with its termination messages; what its steps reported is in the store."""

import pytest

from e2e.clusterapi import Ref
from e2e.world import ALL_STEPS, STEPS, Stage

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("vanished")
def test_report_of_a_vanished_pod_is_recovered(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    binding = stage.apply_binding("classifier", namespace)
    stage.await_condition(binding, "Ready", "True")

    stage.apply_second_release()
    with stage.world.operator.absent(
        stage.api, once=lambda: stage.await_container(namespace, "readaptation", "port", "running")
    ):
        pod = stage.await_container(namespace, "readaptation", "port", "terminated")
        stage.wait("the Job to be complete", lambda: _complete(stage, namespace))
        stage.api.delete(Ref.of("Pod", pod), grace_seconds=0)
        stage.wait("the pod to be gone", lambda: not stage.pods_of_jobs(namespace, ever=False) or None)
    thing = stage.await_condition(binding, "UpToDate", "True")

    [job], [report_job] = stage.jobs_ever(namespace, "readaptation"), stage.jobs_ever(namespace, "report")
    assert report_job["metadata"]["name"] == f"{job['metadata']['name']}-report"
    candidate = thing["status"]["candidate"]
    assert candidate["attempt"] == 1
    [step] = candidate["steps"]
    assert (step["outcome"], step["verdict"]) == ("Succeeded", "Passed")
    [report] = stage.world.bucket.reports(stage.store_uri(namespace)).values()
    assert report["artifact"]["digest"] == thing["status"]["current"]["adapter"]["digest"]


@pytest.mark.scenario("between")
def test_pod_deleted_between_two_steps_repeats_none(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    binding = stage.apply_binding("classifier", namespace, work=stage.world.shelf.kind, readaptation=ALL_STEPS)
    stage.await_condition(binding, "Ready", "True")

    stage.apply_second_release()
    pod = stage.await_container(namespace, "readaptation", "port", "terminated")
    stored = stage.world.bucket.reports(stage.store_uri(namespace))
    stage.api.delete(Ref.of("Pod", pod), grace_seconds=0)
    stage.await_condition(binding, "UpToDate", "True")
    thing = stage.await_finished(binding, len(STEPS))

    assert [step["outcome"] for step in thing["status"]["candidate"]["steps"]] == ["Succeeded"] * len(STEPS)
    assert len(stage.pods_of_jobs(namespace)) == 2
    assert len(stage.jobs_ever(namespace, "readaptation")) == thing["status"]["candidate"]["attempt"]
    reports = stage.world.bucket.reports(stage.store_uri(namespace))
    assert {key: reports[key] for key in stored} == stored
    assert len(reports) == len(STEPS)


def _complete(stage: Stage, namespace: str) -> bool | None:
    conditions = [
        each for job in stage.jobs_ever(namespace, "readaptation") for each in job["status"].get("conditions", [])
    ]
    return any((each["type"], each["status"]) == ("Complete", "True") for each in conditions) or None

import time
from collections.abc import Callable
from typing import Any

import pytest

from controller.api import Api, condition, eventually
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet
from controller.replica import Replica

pytestmark = pytest.mark.integration

START_DEADLINE_SECONDS = 30


def test_a_job_that_ran_for_longer_than_it_may_wait_outlives_the_eviction_of_its_pod(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    kubelet.lasting = lambda step, _: 0.0 if step == "delta" else 3600.0
    api.merge("TrainerProfile", fleet.model, {"spec": {"preRunningDeadlineSeconds": START_DEADLINE_SECONDS}})
    replica = start_replica("--resync-seconds", "2")
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    fleet.release(fleet.r2, fleet.r1)

    def job() -> dict[str, Any]:
        return next(one for one in api.within("Job", fleet.namespace) if one["metadata"]["name"].startswith("one-"))

    def pods() -> list[dict[str, Any]]:
        return api.within("Pod", fleet.namespace, f"?labelSelector=job-name={job()['metadata']['name']}")

    def told() -> Any:  # noqa: ANN401 - a word of a condition
        return condition(fleet.binding("one"), "UpToDate")["reason"]

    eventually(lambda: told() == "Running", "the Job runs")
    uid, (evicted,) = job()["metadata"]["uid"], pods()
    time.sleep(START_DEADLINE_SECONDS)
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    name = evicted["metadata"]["name"]
    api.merge("Pod", name, {"status": {"phase": "Failed", "conditions": [disrupted]}}, fleet.namespace, "/status")
    api.delete("Pod", name, fleet.namespace)

    eventually(lambda: pods() == [], "the evicted pod is gone")
    eventually(lambda: told() == "Starting", "the operator has seen that")
    eventually(lambda: len(pods()) == 1 and told() == "Running", "the next pod runs")
    kubelet.lasting = lambda _step, _request: 0.0
    eventually(lambda: fleet.serves(fleet.r2), "the release goes on")
    candidate = fleet.binding("one")["status"]["candidate"]
    assert (candidate["attempt"], candidate["failures"]) == (1, 0)
    assert job()["metadata"]["uid"] == uid

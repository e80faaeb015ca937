from collections.abc import Callable
from typing import Any

import pytest

from controller.api import Api, condition, eventually
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet
from controller.replica import Replica
from controller.rights import NAMESPACE

pytestmark = pytest.mark.integration


def test_jobs_wait_in_a_queue_are_preempted_and_go_on(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    replica = start_replica("--resync-seconds", "2")
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    queue = {"localQueueName": "gpus", "workloadPriorityClassName": "adapters"}
    api.merge("TrainerProfile", fleet.model, {"spec": {"scheduling": queue}})
    kubelet.paused = True

    fleet.release(fleet.r2, fleet.r1)

    def jobs(namespace: str) -> list[dict[str, Any]]:
        found = api.within("Job", namespace)
        return [job for job in found if job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == "gpus"]

    def suspend(namespace: str, *, suspended: bool) -> None:
        """Play Kueue's part."""
        for job in jobs(namespace):
            api.merge("Job", job["metadata"]["name"], {"spec": {"suspend": suspended}}, namespace)

    def told(reason: str) -> bool:
        return all(condition(fleet.binding(name), "UpToDate")["reason"] == reason for name in fleet.names)

    def counted(stage: str) -> int:
        count: int = api.get("BaseModelRelease", fleet.r2)["status"]["bindings"].get(stage, 0)
        return count

    eventually(lambda: len(jobs(NAMESPACE)) == 1, "the delta Job is made")
    assert jobs(NAMESPACE)[0]["spec"]["suspend"] is True
    kubelet.paused = False
    suspend(NAMESPACE, suspended=False)
    eventually(lambda: len(jobs(fleet.namespace)) == 2 and told("Queued"), "both Jobs are queued")
    assert all(
        job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "adapters" for job in jobs(fleet.namespace)
    )
    eventually(lambda: counted("queued") == 2, "the release counts them")
    assert not api.within("Pod", fleet.namespace, "?labelSelector=relora.dev/job-kind")

    kubelet.paused = True
    suspend(fleet.namespace, suspended=False)
    eventually(lambda: told("Starting") and counted("running") == 2, "the queue lets them go")
    suspend(fleet.namespace, suspended=True)
    eventually(lambda: told("Queued") and counted("queued") == 2, "the queue takes them back")
    kubelet.paused = False
    suspend(fleet.namespace, suspended=False)

    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the release goes on")
    for name in fleet.names:
        candidate = fleet.binding(name)["status"]["candidate"]
        assert (candidate["attempt"], candidate["failures"]) == (1, 0)
    assert len(jobs(fleet.namespace)) == 2

from collections.abc import Callable
from typing import Any

import pytest

from controller.api import Api, condition, eventually
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet
from controller.replica import Replica

pytestmark = pytest.mark.integration


def test_a_quota_that_refuses_jobs_is_told_and_the_release_goes_on_when_it_is_lifted(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    replica = start_replica("--resync-seconds", "2")
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    quota: dict[str, Any] = {"metadata": {"name": "no-jobs", "namespace": fleet.namespace}}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", **quota, "spec": {"hard": {"count/jobs.batch": "0"}}})
    eventually(
        lambda: "hard" in api.get("ResourceQuota", "no-jobs", fleet.namespace)["status"], "the quota is in force"
    )

    fleet.release(fleet.r2, fleet.r1)

    def told(name: str) -> dict[str, Any]:
        return condition(fleet.binding(name), "UpToDate")

    eventually(lambda: all(told(name)["reason"] == "JobRefused" for name in fleet.names), "the refusal is told")
    for name in fleet.names:
        assert "exceeded quota: no-jobs" in told(name)["message"]
        assert condition(fleet.binding(name), "Stalled")["reason"] == "JobRefused"
        assert condition(fleet.binding(name), "Ready")["status"] == "True"
    versions = [fleet.binding(name)["metadata"]["resourceVersion"] for name in fleet.names]
    tries = refused(replica)
    eventually(lambda: refused(replica) >= tries + 2, "both are tried again", seconds=90)
    assert [fleet.binding(name)["metadata"]["resourceVersion"] for name in fleet.names] == versions

    api.delete("ResourceQuota", "no-jobs", fleet.namespace)

    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the release goes on", seconds=120)


def refused(replica: Replica) -> int:
    """Return how often the API server refused a Job."""
    return replica.log.read_text().count("the API server refused a Job")

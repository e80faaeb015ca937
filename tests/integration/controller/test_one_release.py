import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.api import Api, condition, eventually
from controller.kubelet import FakeKubelet, artifact_of, passes_at
from controller.replica import Replica
from controller.rights import NAMESPACE
from samples.kinds import binding, digest, profile, release, server

pytestmark = pytest.mark.integration

RESYNC = ("--resync-seconds", "2")


class Fleet:
    """One tenant with a server and bindings, and the first release."""

    def __init__(self, api: Api, namespace: str, *names: str) -> None:
        self.api = api
        self.namespace = namespace
        self.names = names
        self.model = namespace
        self.r1, self.r2 = f"{namespace}-r1", f"{namespace}-r2"

    def create(self) -> None:
        self.api.create(
            profile(self.model, scheduling={}, serviceAccountName="default", allowedNamespaces={"selector": {}})
        )
        self.release(self.r1)
        self.api.create(deployment("vllm", self.namespace))
        own = {"namespace": self.namespace, "model": self.model, "initialReleaseName": self.r1}
        self.api.create(server(**own, allowedBindings={"from": "Same"}))
        for name in self.names:
            source = {"releaseName": self.r1, "uri": f"s3://adapters/{name}/v1", "digest": digest(name)}
            self.api.create(
                binding(
                    name,
                    self.namespace,
                    model=self.model,
                    source=source,
                    serverRef={"name": "vllm"},
                    servedName=f"{name}-served",
                )
            )

    def release(self, name: str, supersedes: str | None = None) -> None:
        weights = {"uri": f"s3://models/{name}", "digest": digest(name)}
        document = release(
            name,
            model=self.model,
            weights=weights,
            supersedes=supersedes,
            profileRef={"name": self.model},
            allowedNamespaces={"selector": {}},
        )
        if supersedes is None:
            del document["spec"]["supersedes"]
        self.api.create(document)

    def binding(self, name: str) -> dict[str, Any]:
        return self.api.get("AdapterBinding", name, self.namespace)

    @property
    def server(self) -> dict[str, Any]:
        return self.api.get("AdapterServer", "vllm", self.namespace)

    @property
    def jobs(self) -> list[str]:
        """Names of all Jobs of the model, delta Jobs first."""
        delta = [job for job in self.api.within("Job", NAMESPACE) if job["metadata"]["name"].startswith(self.model)]
        own = self.api.within("Job", self.namespace)
        return [job["metadata"]["name"] for job in (*delta, *own)]

    def serves(self, release_name: str) -> bool:
        """Tell whether the server and all its members say that they are on a release."""
        return self.server["status"]["current"]["releaseName"] == release_name and all(
            condition(found, "Ready")["status"] == "True"
            and condition(found, "UpToDate")["status"] == "True"
            and found["status"]["current"]["releaseName"] == release_name
            for found in map(self.binding, self.names)
        )

    def complete(self, release_name: str) -> bool:
        return bool(condition(self.api.get("BaseModelRelease", release_name), "Complete").get("status") == "True")

    def served_set(self) -> str:
        found = self.api.get("Deployment", "vllm", self.namespace)
        text: str = found["spec"]["template"]["metadata"]["annotations"]["relora.dev/serving-set"]
        return text


def deployment(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"relora.dev/adapter-server": "vllm"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "server", "image": "registry.example/server:1"}]},
            },
        },
    }


@pytest.fixture
def fleet(api: Api, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet of two bindings in a namespace of its own; everything of it is deleted at the end."""
    name = f"t{abs(hash(request.node.name)) % 10**8}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    made = Fleet(api, name, "one", "two")
    made.create()
    yield made
    api.delete("Namespace", name)
    for kind in ("BaseModelRelease", "TrainerProfile"):
        for found in api.everywhere(kind):
            if found["metadata"]["name"].startswith(name):
                api.delete(kind, found["metadata"]["name"])


def test_a_release_changes_what_is_served(
    start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet
) -> None:
    replica = start_replica(*RESYNC)
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), 60, "the first release is served")
    kubelet.ending = passes_at("fuse")

    fleet.release(fleet.r2, fleet.r1)

    eventually(lambda: fleet.serves(fleet.r2), 90, "the second release is served")
    eventually(lambda: fleet.complete(fleet.r2), 20, "the release is complete")
    assert len(fleet.jobs) == 3
    for name in fleet.names:
        candidate = fleet.binding(name)["status"].get("candidate") or {}
        adapter = fleet.binding(name)["status"]["current"]["adapter"]["digest"]
        steps = [(step["name"], step.get("verdict")) for step in candidate["steps"]]
        assert steps == [("port", "Failed"), ("fuse", "Passed"), ("recover", None), ("refine", None)]
        assert adapter == artifact_of("fuse", candidate["requestDigest"])
        assert adapter in fleet.served_set()
    assert f'"release":"{fleet.r2}"' in fleet.served_set()


def test_at_rest_the_operator_writes_nothing_but_its_lease(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    replica = start_replica(*RESYNC)
    replica.await_lead()
    fleet.release(fleet.r2, fleet.r1)
    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), 90, "the second release is served")
    eventually(lambda: at_rest(replica, api), 30, "the fleet is at rest")
    before, writes = versions(api), replica.writes()
    lease = api.get("Lease", "relora-operator", NAMESPACE)["metadata"]["resourceVersion"]
    start = passes(replica)

    eventually(lambda: passes(replica) >= start + 3, 30, "three comparisons with the API server")

    assert replica.writes() == writes
    assert versions(api) == before
    assert api.get("Lease", "relora-operator", NAMESPACE)["metadata"]["resourceVersion"] != lease


KINDS = ("BaseModelRelease", "AdapterBinding", "AdapterServer", "TrainerProfile", "Job", "Deployment", "Event")


def versions(api: Api) -> dict[str, str]:
    """Return the resourceVersion of every object that the operator could write."""
    return {
        found["metadata"]["uid"]: found["metadata"]["resourceVersion"]
        for kind in KINDS
        for found in api.everywhere(kind)
    }


def passes(replica: Replica) -> float:
    """Return how often releases were listed: once in each comparison with the API server."""
    return replica.metric(r'relora_client_request_seconds_count\{.*resource="basemodelreleases".*verb="GET"')


def at_rest(replica: Replica, api: Api) -> bool:
    """Tell whether two comparisons with the API server passed without a change."""
    before, start = (versions(api), replica.writes()), passes(replica)
    eventually(lambda: passes(replica) >= start + 2, 30, "two comparisons with the API server")
    return (versions(api), replica.writes()) == before


@pytest.mark.parametrize("phase", ["delta", "port", "rollout"])
def test_a_leader_that_is_killed_in_a_phase_changes_no_result(
    start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet, phase: str
) -> None:
    first = start_replica(*RESYNC, name="first")
    first.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), 60, "the first release is served")
    kubelet.paused = phase != "rollout"
    kubelet.serving_ready = phase != "rollout"
    fleet.release(fleet.r2, fleet.r1)
    if phase == "delta":
        eventually(lambda: len(fleet.jobs) == 1, what="the delta Job")
    elif phase == "port":
        kubelet.paused = False
        eventually(lambda: any(step == "port" for _, step in kubelet.steps_run), what="a step has run")
    else:
        eventually(lambda: f'"release":"{fleet.r2}"' in fleet.served_set(), 60, "the new set is on the workload")

    first.stop(signal.SIGKILL)
    kubelet.paused = False
    kubelet.serving_ready = True
    second = start_replica(*RESYNC, name="second")
    second.await_lead()

    eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), 90, "the second release is served")
    assert len(fleet.jobs) == 3, "a Job was made twice"
    assert len(kubelet.steps_run) == len(set(kubelet.steps_run)), "a step was run twice"


def test_what_the_watches_missed_is_found_by_the_next_leader_and_by_the_resync(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    replica = start_replica(*RESYNC)
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), 60, "the first release is served")
    assert not kubelet.steps_run

    replica.send(signal.SIGSTOP)
    api.delete("AdapterBinding", "two", fleet.namespace)
    replica.send(signal.SIGKILL)
    second = start_replica(*RESYNC, name="second")
    second.await_lead()

    eventually(lambda: "two-served" not in fleet.served_set(), 30, "the deleted binding is not served")
    assert "one-served" in fleet.served_set()

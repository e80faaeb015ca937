from typing import Any

from controller.world import World, deployment
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse_targets import parse_target
from relora_operator.loop.rollout import describe_rollout

DIGEST = "sha256:set"


def target(*, available: int) -> JsonObject:
    document = deployment(available=available)
    document["metadata"] |= {"uid": "d", "resourceVersion": "1"}
    document["spec"]["template"]["metadata"]["annotations"] = {"relora.dev/serving-set-digest": DIGEST}
    return document


def pod(name: str, digest: str = DIGEST, *, node: str | None = "n", **status: object) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "serving",
            "uid": name,
            "creationTimestamp": "2026-11-01T10:00:00Z",
            "annotations": {"relora.dev/serving-set-digest": digest},
        },
        "spec": {"initContainers": [{"name": "relora-fetch"}], "containers": [{"name": "server"}], "nodeName": node},
        "status": status,
    }


def fetch_ended(code: int) -> dict[str, Any]:
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    last = {"terminated": {"exitCode": code, "message": "digest mismatch"}}
    return {"initContainerStatuses": [{"name": "relora-fetch", "state": state, "lastState": last}]}


async def described(world: World, *pods: dict[str, Any], available: int = 1) -> tuple[str | None, str | None]:
    for one in pods:
        world.transport.objects[f"/api/v1/namespaces/serving/pods/{one['metadata']['name']}"] = one
    view = await describe_rollout(world.client, parse_target(target(available=available)))
    return view.unschedulable, view.failing


async def test_a_container_that_keeps_failing_is_told(world: World) -> None:
    found = await described(world, pod("a", **fetch_ended(45)))

    assert found == (None, "container relora-fetch: CrashLoopBackOff: exit code 45: digest mismatch")


async def test_a_pod_without_a_node_is_told_in_the_schedulers_words(world: World) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}

    assert await described(world, pod("a", node=None, conditions=[condition])) == ("0/1 nodes are available", None)


async def test_pods_of_an_older_set_are_not_asked(world: World) -> None:
    assert await described(world, pod("old", "sha256:other", **fetch_ended(45))) == (None, None)


async def test_a_ready_pod_and_one_that_starts_have_nothing_to_tell(world: World) -> None:
    ready = pod("a", conditions=[{"type": "Ready", "status": "True"}])
    starts = pod("b", containerStatuses=[{"name": "server", "state": {"waiting": {"reason": "ContainerCreating"}}}])

    assert await described(world, ready, starts) == (None, None)


async def test_a_workload_that_is_rolled_out_costs_no_request(world: World) -> None:
    assert await described(world, available=2) == (None, None)
    assert world.transport.sent == []

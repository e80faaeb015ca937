"""When a Job lost its pod."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.world import World
from relora_operator.kube.resources import JOBS, PODS
from relora_operator.loop.lostpods import LostPods

BEGAN = datetime(2026, 11, 1, 10, tzinfo=UTC)
JOB: dict[str, Any] = {"metadata": {"name": "one-1", "namespace": "team"}, "spec": {}}
ENDED = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-01T10:00:00Z"}]}


def pod_of_the_job() -> dict[str, Any]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "one-1", "uid": "j", "controller": True}
    return {"metadata": {"name": "one-1-x", "namespace": "team", "ownerReferences": [owner]}, "spec": {}}


@pytest.fixture
def later(world: World) -> LostPods:
    """Made at ten; everything else happens an hour later."""
    times = iter([BEGAN])
    return LostPods(world.state, lambda: next(times, BEGAN + timedelta(hours=1)))


def lose_its_pod(world: World) -> None:
    world.put(PODS, pod_of_the_job(), uid="p")
    world.intake.missing(PODS, "team", "one-1-x", "p", 9)


def test_before_a_pod_was_lost_it_is_when_the_process_began(world: World, later: LostPods) -> None:
    world.put(JOBS, JOB, uid="j")
    assert later.last_of("j") == BEGAN
    lose_its_pod(world)
    assert later.last_of("j") == BEGAN + timedelta(hours=1)


def test_a_job_that_ended_or_is_gone_is_not_remembered(world: World, later: LostPods) -> None:
    world.put(JOBS, JOB, uid="j")
    lose_its_pod(world)
    world.intake.missing(JOBS, "team", "one-1", "j", 9)
    lose_its_pod(world)
    assert later.last_of("j") == BEGAN

    world.put(JOBS, {**JOB, "status": ENDED}, uid="k", version=20)
    ended = pod_of_the_job()
    ended["metadata"]["ownerReferences"][0]["uid"] = "k"
    world.put(PODS, ended, uid="q", version=21)
    world.intake.missing(PODS, "team", "one-1-x", "q", 22)
    assert later.last_of("k") == BEGAN

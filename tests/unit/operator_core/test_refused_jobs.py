"""Jobs that the API server refuses to create."""

from datetime import timedelta

import pytest

from fleet.builders import START, make_binding, make_release
from fleet.world import OPERATOR_NAMESPACE, World
from relora_operator.core.actions import CreateJob
from relora_operator.core.reasons import Reason
from relora_operator.core.refusals import JobRefusal, due
from unit.operator_core.test_every_reason import alone, refusing, started


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (403, 'jobs.batch "x" is forbidden: exceeded quota: none', Reason.JOB_REFUSED),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', Reason.JOB_REFUSED),
        (403, 'admission webhook "policy.example" denied the request: no GPUs here', Reason.JOB_REFUSED),
        (422, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no GPUs here", Reason.JOB_REFUSED),
        (422, 'Job.batch "x" is invalid: spec.template: Invalid value', Reason.JOB_INVALID),
        (403, 'User "relora" cannot create resource "jobs" in API group "batch"', Reason.JOB_INVALID),
    ],
)
def test_whose_a_refusal_is(status: int, answer: str, reason: Reason) -> None:
    assert JobRefusal(status=status, answer=answer, again_at=START).reason is reason


def test_a_long_answer_is_cut() -> None:
    assert len(JobRefusal(status=403, answer="x" * 5000, again_at=START).message) < 600


def test_the_next_try_waits_its_time() -> None:
    refusal = JobRefusal(status=403, answer="no", again_at=START)
    assert due(None, START)
    assert due(refusal, START)
    assert not due(refusal, START - timedelta(seconds=1))


def tries(world: World) -> int:
    """Return how many Jobs the decisions ask for now."""
    plans = [world.reconcile(key) for key in list(world.keys())]
    return sum(isinstance(action, CreateJob) for plan in plans for action in plan.actions)


@pytest.mark.parametrize(("namespace", "kind"), [("team", "readaptation"), (OPERATOR_NAMESPACE, "delta")])
def test_a_refused_job_is_tried_each_minute_writes_nothing_meanwhile_and_goes_on_by_itself(
    namespace: str, kind: str
) -> None:
    world = started(refusing(alone(), (403, "exceeded quota"), namespace))
    assert world.condition(world.releases["r2"], "Ready") == (
        "True/Accepted" if kind == "readaptation" else "False/JobRefused"
    )
    written = len(world.writes)
    for _ in range(3):
        assert tries(world.wait(seconds=59)) == 0
        assert tries(world.wait(seconds=2)) == 1
        world.restart_operator()
        world.settle()
    assert len(world.writes) == written
    assert world.live_jobs(kind) == []

    world.refusing.clear()
    world.wait(seconds=61).settle()
    assert len(world.live_jobs(kind)) == 1
    world.live_on()
    assert world.condition(world.releases["r2"], "Ready") == "True/Accepted"
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"
    candidate = world.binding().status.candidate
    assert candidate is not None
    assert (candidate.attempt, candidate.failures) == (1, 0)


def test_who_is_refused_keeps_no_slot_from_the_others() -> None:
    world = alone().add(make_binding(namespace="beta", minutes=5).build()).live_on()
    refusing(world, (403, "exceeded quota"))
    world.add(make_release("r2", "r1", minutes=10, rollout={"maxRunningJobs": 1}))
    world.settle().run_all(kind="delta").live_on()

    assert world.condition(world.binding(), "UpToDate") == "False/JobRefused"
    assert world.condition(world.binding(namespace="beta"), "UpToDate") == "True/NewestRelease"
    assert world.condition(world.releases["r2"], "Complete") == "False/InProgress"

"""From pods to the record of steps, and from there to what an attempt came to."""

from dataclasses import replace
from datetime import datetime

import pytest

from fleet.builders import at, digest
from relora_contract.api.binding import StepState, StepStatus
from relora_contract.report import Notification, Step, StepOutcome, Verdict
from relora_operator.core.judgement import Judgement, Standing, judge
from relora_operator.core.observed import ContainerView, JobView, PodView
from relora_operator.core.reasons import Reason
from relora_operator.core.steps import active_seconds, observe

REQUEST = digest("request")
STEPS = ("port", "fuse")
SOON = at(5)


def notification(step: Step, outcome: StepOutcome = StepOutcome.SUCCEEDED, request: str = REQUEST) -> Notification:
    return Notification(request_digest=request, step=step, outcome=outcome, verdict=Verdict.FAILED)


def container(name: str, code: int | None = None, told: Notification | None = None, **more: object) -> ContainerView:
    fields = {"started_at": at(1), "finished_at": at(2) if code is not None else None} | more
    return ContainerView(name=name, exit_code=code, notification=told, **fields)  # type: ignore[arg-type]  # its fields


def pod(*containers: ContainerView, name: str = "a", minutes: float = 0, **more: object) -> PodView:
    fields = {"phase": "Running", "scheduled": True} | more
    return PodView(name=name, uid=name, created_at=at(minutes), containers=containers, **fields)  # type: ignore[arg-type]  # its fields


def job(*pods: PodView, **more: object) -> JobView:
    view = JobView(
        name="x-1",
        namespace="team",
        uid="x",
        resource_version="1",
        kind="readaptation",
        request_digest_prefix="",
        attempt=1,
        owner_uid="b",
        created_at=at(0),
        pods=pods,
    )
    return replace(view, **more)  # type: ignore[arg-type]  # its fields


def seen(*pods: PodView, recorded: tuple[StepStatus, ...] = ()) -> tuple[StepStatus, ...]:
    return observe(STEPS, recorded, pods, REQUEST)


def judged(view: JobView, *, report: JobView | None = None, now: datetime = SOON) -> Judgement:
    return judge(view, report, seen(*view.pods), start_deadline_seconds=600, now=now)


DONE_PORT = container("port", 0, notification("port"))


def test_what_is_done_stays_done_whatever_later_pods_show() -> None:
    recorded = seen(pod(DONE_PORT))
    later = (
        pod(container("port"), minutes=3, name="b"),
        pod(container("port", 1), minutes=4, name="c"),
        pod(container("port", 0, notification("port", StepOutcome.MISSING)), minutes=5, name="d"),
    )
    assert seen(*later, recorded=recorded)[0] == recorded[0]
    assert seen(recorded=recorded) == recorded


def test_the_newest_pod_speaks_last_in_whatever_order_pods_come() -> None:
    first, second = pod(container("port", 75)), pod(container("port"), name="b", minutes=3)
    assert seen(second, first)[0].state is StepState.RUNNING
    assert seen(first)[0].outcome is StepOutcome.FAILED


@pytest.mark.parametrize(
    "told", [notification("fuse"), notification("port", request=digest("another request")), None], ids=str
)
def test_a_notification_of_something_else_is_none(told: Notification | None) -> None:
    (port, _) = seen(pod(container("port", 0, told)))
    assert (port.state, port.outcome) == (StepState.RUNNING, None)


def test_an_evicted_step_has_not_failed() -> None:
    (port, _) = seen(pod(container("port", 143), disrupted=True))
    assert port.state is StepState.RUNNING


def test_a_step_that_a_queue_stopped_after_a_checkpoint_has_not_failed() -> None:
    (port, _) = seen(pod(container("port", 143)))
    assert port.state is StepState.RUNNING


FINISHED: dict[str, tuple[JobView, Standing, Reason, bool]] = {
    "complete and recorded": (
        job(pod(DONE_PORT, container("fuse", 0, notification("fuse"))), complete=True),
        Standing.SUCCEEDED,
        Reason.GATE_PASSED,
        False,
    ),
    "complete, the pod is gone": (job(complete=True), Standing.LOST, Reason.RECOVERING_REPORT, False),
    "complete, one step said nothing": (
        job(pod(DONE_PORT, container("fuse", 0)), complete=True),
        Standing.LOST,
        Reason.RECOVERING_REPORT,
        False,
    ),
    "failed, the pod is gone": (job(failed=True), Standing.LOST, Reason.RECOVERING_REPORT, False),
    "failed after a step that said nothing": (
        job(pod(container("port", 0), container("fuse", 75)), failed=True),
        Standing.LOST,
        Reason.RECOVERING_REPORT,
        False,
    ),
    "failed for now": (
        job(pod(DONE_PORT, container("fuse", 75)), failed=True),
        Standing.FAILED,
        Reason.ADAPTATION_FAILED,
        True,
    ),
    "failed for good": (
        job(pod(container("port", 46)), failed=True),
        Standing.FAILED,
        Reason.INCOMPATIBLE,
        False,
    ),
    "killed for its memory": (
        job(pod(container("port", 137, reason="OOMKilled")), failed=True),
        Standing.FAILED,
        Reason.OUT_OF_MEMORY,
        False,
    ),
    "killed": (job(pod(container("port", 137)), failed=True), Standing.FAILED, Reason.ADAPTATION_FAILED, True),
}


@pytest.mark.parametrize("case", FINISHED)
def test_a_finished_job(case: str) -> None:
    view, standing, reason, retriable = FINISHED[case]
    judgement = judged(view)
    assert (judgement.standing, judgement.reason, judgement.retriable) == (standing, reason, retriable)


def test_what_the_report_job_does_not_find_has_not_ended() -> None:
    ended = job(complete=True)
    assert judged(job(complete=True), report=job()).standing is Standing.LOST
    assert judged(job(complete=True), report=ended).reason is Reason.ADAPTATION_FAILED
    deadline = job(failed=True, failure_reason="DeadlineExceeded")
    assert judged(deadline, report=ended).reason is Reason.DEADLINE_EXCEEDED


WAITING: dict[str, tuple[JobView, Reason]] = {
    "no pod": (job(), Reason.START_DEADLINE_EXCEEDED),
    "no node": (job(pod(phase="Pending", scheduled=False, message="0/3 nodes")), Reason.UNSCHEDULABLE),
    "no image": (
        job(pod(ContainerView(name="port", reason="ErrImagePull", message="denied"), phase="Pending")),
        Reason.IMAGE_PULL_FAILED,
    ),
    "no volume": (job(pod(ContainerView(name="port"), phase="Pending")), Reason.START_DEADLINE_EXCEEDED),
}


@pytest.mark.parametrize("case", WAITING)
def test_a_pod_that_does_not_start_is_given_up_at_its_deadline_and_not_before(case: str) -> None:
    view, reason = WAITING[case]
    before = judged(view, now=at(9))
    assert (before.standing, before.reason) == (Standing.ON_ITS_WAY, Reason.STARTING)
    assert before.look_again_at == at(10)
    after = judged(view, now=at(10))
    assert (after.standing, after.reason, after.retriable) == (Standing.FAILED, reason, True)


def test_a_job_whose_pod_was_evicted_waits_for_the_next_one_as_long_as_for_the_first() -> None:
    evicted = job(started_at=at(0), pod_lost_at=at(120))
    before = judged(evicted, now=at(129))
    assert (before.reason, before.look_again_at) == (Reason.STARTING, at(130))
    assert judged(evicted, now=at(130)).reason is Reason.START_DEADLINE_EXCEEDED
    resumed = job(started_at=at(200), pod_lost_at=at(120))
    assert judged(resumed, now=at(201)).look_again_at == at(210)


def test_time_in_a_queue_does_not_count() -> None:
    assert judged(job(suspended=True), now=at(999)).reason is Reason.QUEUED
    assert judged(job(started_at=at(995)), now=at(999)).reason is Reason.STARTING
    assert judged(job(started_at=at(995)), now=at(1005)).reason is Reason.START_DEADLINE_EXCEEDED


def test_a_step_that_started_has_no_deadline_to_start() -> None:
    running = job(pod(container("port"), phase="Pending"))
    assert judged(running, now=at(9999)).reason is Reason.RUNNING


def test_active_seconds_are_those_between_first_start_and_last_end() -> None:
    two = pod(container("port", 0), container("fuse", 0, started_at=at(3), finished_at=at(5)))
    assert active_seconds([two, pod(container("port"))]) == 240

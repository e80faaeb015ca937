"""Changed gates: what the store holds is judged again without a GPU, and only the missing is computed."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from fleet.builders import make_profile, make_release
from fleet.jobs import SimJob, exits, gate_says, run
from fleet.stories import fleet_of, served
from fleet.world import World
from relora_contract.api.binding import Candidate, Quality
from relora_contract.report import Verdict
from relora_contract.task import Gate, Metric


def candidate_of(world: World) -> Candidate:
    candidate = world.binding().status.candidate
    assert candidate is not None
    return candidate


def failed(*, server: bool = False, **release: object) -> World:
    """A re-adaptation all of whose gates failed."""
    world = fleet_of("team", server=server)
    world.add(make_release("r2", "r1", minutes=10, **release)).live_on(gate_says(Verdict.FAILED))
    assert world.condition(world.binding(), "UpToDate") == "False/GateFailed"
    return world


def demand(world: World, threshold: str) -> World:
    """Change the gates."""
    quality = Quality(gates=[Gate(metric=Metric.ACCURACY, threshold=threshold)])
    changed = world.binding().spec.model_copy(update={"quality": quality})
    return world.add(world.binding().model_copy(update={"spec": changed}))


def judge_stored(world: World, verdicts: dict[str, Verdict]) -> None:
    """What the trainer will find when it judges the stored outcomes of these steps by the changed gates."""
    for (request, step), report in world.reports.items():
        if step in verdicts:
            world.reports[request, step] = report.model_copy(update={"verdict": verdicts[step]})
            if verdicts[step] is Verdict.PASSED and report.artifact_digest is not None:
                world.passed.add((world.releases["r2"].spec.weights.digest, report.artifact_digest))


def forget(world: World, steps: Iterable[str]) -> None:
    """The store has no reports of these steps."""
    for key in [key for key in world.reports if key[1] in steps]:
        del world.reports[key]


def report_job(world: World, namespace: str = "team") -> SimJob:
    (job,) = world.live_jobs("report")
    assert namespace not in {one.view.namespace for one in world.live_jobs("readaptation")}
    return job


@pytest.mark.parametrize("server", [False, True])
def test_laxer_gates_that_a_stored_adapter_passes_promote_it_without_an_attempt(*, server: bool) -> None:
    world = failed(server=server)
    before, computed = candidate_of(world), list(world.executed)

    demand(world, "0.4").settle()
    job = report_job(world)
    assert (job.request_digest, job.view.attempt) == (before.request_digest, before.attempt + 1)
    assert world.condition(world.binding(), "UpToDate") == "False/Starting"
    judge_stored(world, {"recover": Verdict.PASSED, "refine": Verdict.PASSED})
    world.live_on()

    assert world.executed == computed
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"
    if server:
        assert all(value.startswith("r2") for value in served(world).values())
    after = candidate_of(world)
    assert [step.verdict for step in after.steps] == [Verdict.FAILED, Verdict.FAILED, Verdict.PASSED, Verdict.PASSED]
    assert not after.rejudging


def test_gates_that_no_stored_adapter_passes_fail_without_an_attempt() -> None:
    world = failed()
    computed = list(world.executed)

    demand(world, "0.95").live_on()

    assert world.executed == computed
    assert world.condition(world.binding(), "UpToDate") == "False/GateFailed"
    assert not candidate_of(world).rejudging
    assert not world.live_jobs("report")


def test_steps_that_stricter_gates_call_for_are_computed_in_an_attempt() -> None:
    world = fleet_of("team", server=False)
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    world.run_all(exits(75, at_step="recover")).settle()  # port and fuse are stored
    first = candidate_of(world)

    demand(world, "0.9").settle()
    run(world, report_job(world))
    world.settle()

    (attempt,) = world.live_jobs()
    assert attempt.view.attempt == first.attempt + 2
    world.live_on()
    assert [step for _, step in world.executed] == ["delta", "port", "fuse", "recover", "recover", "refine"]
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_what_always_refines_is_refined_although_a_stored_adapter_passes_the_changed_gates() -> None:
    world = fleet_of("team", server=False, readaptation={"refine": "Always"})
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    world.run_all(exits(75, at_step="refine")).settle()
    judge_stored(world, {"port": Verdict.PASSED})

    demand(world, "0.4").settle()
    run(world, report_job(world))
    world.settle()

    assert candidate_of(world).adapter is None
    (attempt,) = world.live_jobs()
    assert "refine" in attempt.steps
    world.live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_gates_that_change_while_the_stored_outcomes_are_judged_are_asked_in_their_turn() -> None:
    world = failed()
    demand(world, "0.6").settle()
    first = report_job(world)

    demand(world, "0.4").settle()
    assert first.view.deleting
    world.collect().settle()

    second = report_job(world)
    assert second.view.gates_digest_prefix != first.view.gates_digest_prefix
    assert second.view.attempt == first.view.attempt + 1
    judge_stored(world, {"port": Verdict.PASSED})
    world.live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


@pytest.mark.parametrize("trouble", ["lost", "out of memory", "never starts"])
def test_where_the_stored_outcomes_cannot_be_judged_an_attempt_reads_them(trouble: str) -> None:
    world = failed()
    computed = list(world.executed)
    demand(world, "0.4").settle()
    job = report_job(world)
    judge_stored(world, {"port": Verdict.PASSED})
    if trouble == "lost":
        run(world, job, lose_pod=True)
    elif trouble == "out of memory":
        job.view = replace(job.view, failed=True, failure_reason="BackoffLimitExceeded", finished_at=world.now)
    else:
        world.wait(seconds=3601)  # longer than a Job may take to start
    world.settle().collect().settle()

    (attempt,) = world.live_jobs()
    assert attempt.view.attempt == job.view.attempt + 1
    world.live_on()
    assert world.executed == computed
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_gates_that_come_back_use_what_passed_them_although_others_called_for_an_attempt() -> None:
    world = fleet_of("team", "slow")  # the server waits for the other binding
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all(kind="delta").settle()
    for job in world.live_jobs():
        if job.view.namespace == "team":
            run(world, job)
    world.settle()
    first, computed = candidate_of(world), list(world.executed)
    assert first.adapter is not None
    gates = world.binding().spec.quality.gates[0].threshold
    assert gates is not None

    demand(world, "0.95").settle()
    judge_stored(world, {"port": Verdict.FAILED})
    run(world, report_job(world, "team"))
    world.settle()
    assert not candidate_of(world).rejudging
    demand(world, gates).settle().collect().settle()
    judge_stored(world, {"port": Verdict.PASSED})
    run(world, report_job(world, "team"))
    world.settle()

    assert candidate_of(world).adapter == first.adapter
    assert world.executed == computed


def test_gates_that_change_after_the_trainer_image_judge_what_the_older_one_stored() -> None:
    world = fleet_of("team", "slow")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all(kind="delta").settle()
    for job in world.live_jobs():
        if job.view.namespace == "team":
            run(world, job)
    world.settle().add(make_profile(image="image-2")).settle()
    before, computed = candidate_of(world), list(world.executed)

    demand(world, "0.4").settle()
    job = report_job(world, "team")
    assert job.request_digest == before.request_digest
    run(world, job)
    world.settle()

    assert candidate_of(world).adapter == before.adapter
    assert [step for step in world.executed if step not in computed] == []


@pytest.mark.parametrize("held", ["refused", "queued"])
def test_where_a_policy_lets_no_such_job_start_an_attempt_follows(held: str) -> None:
    world = failed()
    if held == "refused":
        world.refusing["team"] = 403, "jobs.batch is forbidden: no queue"
        demand(world, "0.4").settle()
        del world.refusing["team"]
        world.wait(seconds=60).settle()
    else:
        demand(world, "0.4").settle()
        job = report_job(world)
        job.view = replace(job.view, suspended=True)
        world.settle().collect().settle()

    assert not world.live_jobs("report")
    assert len(world.live_jobs()) == 1
    judge_stored(world, {"port": Verdict.PASSED})
    world.live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_a_suspended_binding_has_nothing_judged() -> None:
    world = failed()
    binding = demand(world, "0.4").binding()
    world.add(binding.model_copy(update={"spec": binding.spec.model_copy(update={"suspend": True})})).settle()

    assert not world.live_jobs("report")
    assert world.condition(world.binding(), "UpToDate") == "False/Suspended"


def test_a_job_that_is_complete_before_its_pod_is_seen_to_have_ended_is_waited_for() -> None:
    world = failed()
    judge_stored(world, {"refine": Verdict.PASSED})
    demand(world, "0.4").settle()
    job = report_job(world)
    run(world, job)
    (pod,) = job.view.pods
    seen = [replace(one, exit_code=None, finished_at=None, notification=None) for one in pod.containers[-1:]]
    job.view = replace(job.view, pods=(replace(pod, containers=(*pod.containers[:-1], *seen)),))
    world.settle()
    assert not world.live_jobs()
    assert world.condition(world.binding(), "UpToDate") == "False/Running"

    job.view = replace(job.view, pods=(pod,))
    world.live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_a_queue_gets_no_more_jobs_because_stored_outcomes_are_judged() -> None:
    world = fleet_of(*(f"team-{number}" for number in range(4)), server=False)
    world.add(make_profile(scheduling={"localQueueName": "gpus"}))
    world.add(make_release("r2", "r1", minutes=10, rollout={"maxQueuedJobs": 2}))
    world.live_on(gate_says(Verdict.FAILED))
    forget(world, ["refine"])
    for binding in list(world.bindings.values()):
        quality = Quality(gates=[Gate(metric=Metric.ACCURACY, threshold="0.95")])
        world.add(binding.model_copy(update={"spec": binding.spec.model_copy(update={"quality": quality})}))

    most = 0
    for _ in range(8):
        world.settle()
        most = max(most, sum(job.view.live for job in world.jobs.values()))
        for job in world.live_jobs("report"):
            run(world, job)

    assert most == 2
    assert len(world.live_jobs()) == 2


def test_the_steps_keep_the_times_at_which_they_were_computed() -> None:
    world = failed()
    before = candidate_of(world).steps
    judge_stored(world, {"port": Verdict.PASSED})

    world.wait(seconds=86_400)
    demand(world, "0.4").live_on()

    after = candidate_of(world)
    assert [(step.start_time, step.end_time) for step in after.steps] == [
        (step.start_time, step.end_time) for step in before
    ]
    assert after.passed_time is not None
    assert after.passed_time > (before[-1].end_time or "")


def test_a_retry_of_a_re_adaptation_that_was_judged_again_is_an_attempt() -> None:
    world = failed()
    demand(world, "0.95").live_on()
    forget(world, ["refine"])

    world.annotate(world.binding(), retryRequestedAt="1").settle()

    assert not world.live_jobs("report")
    assert len(world.live_jobs()) == 1


def test_no_more_stored_outcomes_are_judged_at_once_than_the_release_allows() -> None:
    world = fleet_of("alpha", "beta", server=False)
    world.add(make_release("r2", "r1", minutes=10, rollout={"maxRunningJobs": 1}))
    world.live_on(gate_says(Verdict.FAILED))
    for binding in list(world.bindings.values()):
        quality = Quality(gates=[Gate(metric=Metric.ACCURACY, threshold="0.95")])
        world.add(binding.model_copy(update={"spec": binding.spec.model_copy(update={"quality": quality})}))

    for _ in range(2):
        world.settle()
        run(world, report_job(world, ""))
    world.live_on()

    assert all(world.condition(binding, "UpToDate") == "False/GateFailed" for binding in world.bindings.values())


def test_no_queue_holds_the_job_that_judges_stored_outcomes() -> None:
    queued = make_profile(scheduling={"localQueueName": "gpus"})
    world = failed().add(queued)
    demand(world, "0.4").settle()

    job = report_job(world)

    assert not job.view.suspended
    assert world.condition(world.binding(), "UpToDate") == "False/Starting"


@pytest.mark.parametrize("point", range(12))
def test_killed_after_any_write_the_stored_outcomes_are_judged_and_nothing_is_computed(point: int) -> None:
    world = failed()
    computed = list(world.executed)
    judge_stored(world, {"refine": Verdict.PASSED})
    world.crash_after = point

    demand(world, "0.4").live_on()

    assert world.executed == computed
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"

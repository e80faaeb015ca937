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


def report_job(world: World) -> SimJob:
    (job,) = world.live_jobs("report")
    assert not world.live_jobs("readaptation")
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
        world.wait(seconds=3601)
    world.settle().collect().settle()

    (attempt,) = world.live_jobs()
    assert attempt.view.attempt == job.view.attempt + 1
    world.live_on()
    assert world.executed == computed
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


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
        run(world, report_job(world))
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

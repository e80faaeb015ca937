"""Whole releases played in memory. The world checks safety after every write."""

from collections import Counter

import pytest

from fleet.builders import digest, make_binding, make_profile, make_release, make_server
from fleet.jobs import Script, SimJob, StepEnd, exits, gate_says, run
from fleet.stories import fleet_of, served
from fleet.world import CrashedError, World
from relora_contract.readaptation import STEPS, Strategy
from relora_contract.report import Verdict
from relora_operator.core.actions import Key


def test_a_binding_without_a_server_is_promoted_in_its_status() -> None:
    world = fleet_of("team", server=False)
    assert world.condition(world.binding(), "Ready") == "True/Promoted"
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"

    world.add(make_release("r2", "r1", minutes=10)).live_on()

    current = world.binding().status.current
    assert current is not None
    assert current.release_name == "r2"
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"
    assert world.condition(world.releases["r1"], "Complete") == "True/Superseded"


def test_a_release_carries_all_bindings_of_a_server_over_together() -> None:
    world = fleet_of("alpha", "beta")
    assert set(served(world)) == {"alpha.classifier", "beta.classifier"}
    assert all(value.startswith("r1") for value in served(world).values())

    world.add(make_release("r2", "r1", minutes=10)).live_on()

    assert all(value.startswith("r2") for value in served(world).values())
    for namespace in ("alpha", "beta"):
        binding = world.binding(namespace=namespace)
        assert world.condition(binding, "Ready") == "True/Promoted"
        assert world.condition(binding, "UpToDate") == "True/NewestRelease"
        assert binding.status.current is not None
        assert binding.status.current.time_to_readiness_seconds is not None
    release = world.releases["r2"]
    assert world.condition(release, "Complete") == "True/AllPromoted"
    assert release.status.bindings is not None
    assert (release.status.bindings.eligible, release.status.bindings.promoted) == (2, 2)
    assert len([step for _, step in world.executed if step == "delta"]) == 1


@pytest.mark.parametrize("strategy", [Strategy.PORTLLM, Strategy.PORTLLM_FINE_TUNE, Strategy.SCRATCH])
def test_a_strategy_without_a_search_waits_for_no_delta(strategy: Strategy) -> None:
    binding = make_binding(readaptation={"strategy": strategy}).on_server().build()
    world = World().add(make_release("r1"), make_server(), binding).add_target().live_on()

    world.add(make_release("r2", "r1", minutes=10)).live_on()

    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"
    assert [step for _, step in world.executed] == list(STEPS[strategy])


def test_a_failed_gate_keeps_every_member_of_the_server_on_the_old_base() -> None:
    world = fleet_of("alpha", "beta")
    before = served(world)
    world.add(make_release("r2", "r1", minutes=10))

    def beta_fails(job: SimJob, step: str) -> StepEnd:
        failing = job.view.namespace == "beta"
        verdict = Verdict.FAILED if failing else Verdict.PASSED
        return StepEnd(verdict=verdict, adapter=f"{job.request_digest} {step}")

    world.live_on(beta_fails)

    assert served(world) == before
    alpha, beta = world.binding(namespace="alpha"), world.binding(namespace="beta")
    assert world.condition(beta, "UpToDate") == "False/GateFailed"
    assert world.condition(alpha, "UpToDate") == "False/ServerBlocked"
    for binding in (alpha, beta):
        assert world.condition(binding, "Ready") == "True/Promoted"
        assert world.condition(binding, "Stalled") == "-"
    assert world.condition(world.server(), "UpToDate") == "False/AwaitingBindings"
    assert [(one.namespace, one.reason) for one in world.server().status.blockers] == [("beta", "GateFailed")]
    assert world.condition(world.releases["r2"], "Complete") == "True/CompletedWithFailures"


def test_a_newer_release_ends_the_job_of_the_older_one_first() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    first = world.live_jobs()[0].view.name

    world.add(make_release("r3", "r2", minutes=20)).settle()
    assert [job.view.name for job in world.live_jobs()] == [first]
    world.collect().settle().run_all().settle()
    assert [job.view.name for job in world.live_jobs()] != [first]
    world.live_on()

    assert all(value.startswith("r3") for value in served(world).values())


@pytest.mark.parametrize("rounds", range(1, 9))
def test_superseded_at_any_moment_the_newest_release_wins(rounds: int) -> None:
    world = fleet_of("alpha", "beta")
    world.add(make_release("r2", "r1", minutes=10))
    steps = (world.settle, world.collect, world.run_all, world.settle, world.run_all, world.settle, world.roll_out)
    for step in steps[:rounds]:
        step()
    world.add(make_release("r3", "r2", minutes=20)).live_on()

    assert all(value.startswith("r3") for value in served(world).values())
    assert all(world.condition(binding, "UpToDate") == "True/NewestRelease" for binding in world.bindings.values())


@pytest.mark.parametrize("part", range(4))
def test_killed_after_any_write_the_result_is_the_same(part: int) -> None:
    for point in range(part, 100, 4):
        world = fleet_of("team")
        world.add(make_release("r2", "r1", minutes=10))
        world.crash_after = point

        world.live_on()

        assert all(value.startswith("r2") for value in served(world).values()), point
        steps = Counter(step for _, step in world.executed)
        assert steps == {"delta": 1, "port": 1, "fuse": 1, "recover": 1, "refine": 1}, point
        if world.crash_after is not None:
            assert point > 20, "the story is shorter than it should be"
            return
    pytest.fail("the story never ended without a crash")


def test_a_lost_pod_is_recovered_from_its_reports_and_no_step_runs_twice() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    run(world, world.live_jobs()[0], lose_pod=True)
    before = list(world.executed)

    world.settle()
    assert world.condition(world.binding(), "UpToDate") == "False/RecoveringReport"
    world.live_on()

    assert world.executed == before
    assert all(value.startswith("r2") for value in served(world).values())


def test_a_lost_delta_pod_is_recovered_too() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle()
    run(world, world.live_jobs("delta")[0], lose_pod=True)

    world.live_on()

    assert [step for _, step in world.executed].count("delta") == 1
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"


@pytest.mark.parametrize("kind", ["delta", "readaptation"])
def test_a_job_that_does_not_start_is_deleted_although_the_operator_dies_in_between(kind: str) -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle()
    if kind == "readaptation":
        world.run_all(kind="delta").settle()
    (late,) = world.live_jobs(kind)
    owner = Key("BaseModelRelease", "", "r2") if kind == "delta" else Key("AdapterBinding", "team", "classifier")
    world.wait(seconds=3601)
    world.crash_after_writes = len(world.writes) + 1
    with pytest.raises(CrashedError):
        world.reconcile(owner)
    world.crash_after_writes = None
    before = late.view.deleting

    world.restart_operator()
    world.settle()
    assert (before, late.view.deleting) == (False, True)
    world.collect().wait(seconds=600).live_on()
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"


def test_a_binding_that_is_deleted_while_its_job_runs_leaves_nothing_and_holds_nobody_up() -> None:
    world = fleet_of("alpha", "beta")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    world.delete_binding("classifier", "beta")

    world.live_on()

    assert set(served(world)) == {"alpha.classifier"}
    assert served(world)["alpha.classifier"].startswith("r2")
    assert not [job for job in world.jobs.values() if job.view.namespace == "beta"]


def test_temporary_failures_are_tried_again_after_a_pause_and_then_no_more() -> None:
    world = fleet_of("team", server=False)
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    for attempt, pause in ((1, 600), (2, 1200)):
        world.run_all(exits(75)).settle()
        assert world.condition(world.binding(), "UpToDate") == "False/Retrying", attempt
        world.wait(seconds=pause - 1).settle()
        assert not world.live_jobs()
        world.wait(seconds=1).settle()
        assert len(world.live_jobs()) == 1
    world.run_all(exits(75)).settle()

    assert world.condition(world.binding(), "UpToDate") == "False/AdaptationFailed"
    assert world.condition(world.binding(), "Ready") == "True/Promoted"
    world.wait(seconds=86_400).settle()
    assert not world.live_jobs()

    world.annotate(world.binding(), retryRequestedAt="1").live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def judged_and_then_interrupted(verdict: Verdict) -> Script:
    """The gate of the first step says `verdict`, and the second step fails for a reason that may pass."""
    return lambda job, step: StepEnd(verdict=verdict) if step == "port" else StepEnd(exit_code=75)


@pytest.mark.parametrize(
    ("verdict", "reason"), [(Verdict.FAILED, "GateFailed"), (Verdict.INCONCLUSIVE, "GateInconclusive")]
)
def test_what_the_gate_said_of_an_early_step_shows_while_later_ones_are_tried_again(
    verdict: Verdict, reason: str
) -> None:
    world = fleet_of("team", server=False)
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()

    world.run_all(judged_and_then_interrupted(verdict)).settle()

    assert world.condition(world.binding(), "UpToDate") == "False/Retrying"
    assert world.condition(world.binding(), "Evaluated") == f"True/{reason}"


def test_no_more_jobs_run_than_the_release_allows_and_namespaces_take_turns() -> None:
    world = World().add(make_release("r1"))
    for index in range(5):
        world.add(make_binding(f"b{index}", "big", minutes=index).build())
    world.add(make_binding("only", "small", minutes=9).build()).live_on()
    world.add(make_release("r2", "r1", minutes=10, rollout={"maxRunningJobs": 2})).settle().run_all().settle()

    assert sorted(job.view.namespace for job in world.live_jobs()) == ["big", "small"]
    most = 0
    for _ in range(8):
        world.settle()
        most = max(most, len(world.live_jobs()))
        for job in world.live_jobs()[:1]:
            run(world, job)
    world.live_on()
    assert most == 2
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"


def test_at_rest_nothing_is_written() -> None:
    world = fleet_of("alpha", "beta")
    world.add(make_release("r2", "r1", minutes=10)).live_on()
    before = len(world.writes)

    world.wait(seconds=3600).settle()
    world.restart_operator()
    world.settle()

    assert len(world.writes) == before


def test_an_inconclusive_gate_says_so() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).live_on(gate_says(Verdict.INCONCLUSIVE))
    assert world.condition(world.binding(), "UpToDate") == "False/GateInconclusive"
    assert world.condition(world.binding(), "Evaluated") == "True/GateInconclusive"


def test_a_newer_trainer_image_ends_no_job_that_runs_but_a_failure_is_tried_again_with_it() -> None:
    world = fleet_of("team", server=False)
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    (job,) = world.live_jobs()
    world.add(make_profile(image="image-2")).settle()
    assert [one.view.name for one in world.live_jobs()] == [job.view.name]

    world.run_all(exits(42)).settle().run_all(kind="delta").settle()
    (again,) = world.live_jobs()
    assert again.image.endswith(digest("image-2"))


def test_waiting_in_line_is_told_by_the_conditions_and_by_no_event() -> None:
    world = fleet_of("team")
    world.events.clear()

    world.add(make_release("r2", "r1", minutes=10)).settle()
    assert world.condition(world.binding(), "UpToDate") == "False/WaitingForDelta"
    world.live_on()

    told = [event.reason for event in world.events if event.key.kind == "AdapterBinding"]
    assert told == ["AwaitingServer", "NewestRelease"]

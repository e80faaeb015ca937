"""Whole releases played in memory. The world checks safety after every write."""

from collections import Counter
from dataclasses import replace

import pytest

from fleet.builders import digest, make_binding, make_profile, make_release, make_server
from fleet.jobs import Script, SimJob, StepEnd, exits, gate_says, run
from fleet.world import CrashedError, World
from relora_contract.api.binding import Quality, ServerRef
from relora_contract.readaptation import STEPS, Gate, Metric, Strategy
from relora_contract.report import Verdict
from relora_operator.core.actions import Key


def served(world: World) -> dict[str, str]:
    """Return release and digest by served name."""
    serving = world.target().serving
    assert serving is not None
    return {adapter.name: f"{serving.release} {adapter.digest}" for adapter in serving.adapters}


def fleet_of(*names: str, server: bool = True) -> World:
    """A world in which the first release serves the pinned adapters of one binding per namespace."""
    world = World().add(make_release("r1"))
    if server:
        world.add(make_server()).add_target()
    for name in names:
        binding = make_binding(namespace=name)
        world.add((binding.on_server() if server else binding).build())
    return world.live_on()


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


def test_a_roll_out_that_does_not_end_is_taken_back_whole_and_not_tried_again() -> None:
    world = fleet_of("alpha", "beta")
    before = served(world)
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle().run_all().settle()
    assert world.server().status.candidate is not None
    assert '"release":"r2"' in str(world.target().view.serving_set)
    world.stick(failing="init container relora-fetch: exit code 45").settle()
    assert world.condition(world.server(), "UpToDate") == "False/RollingOut"
    assert world.reconcile(Key("AdapterServer", "serving", "vllm")).requeue_after_seconds == 10

    world.wait(seconds=1801).settle()
    assert world.condition(world.server(), "UpToDate") == "False/RollingBack"
    assert all(world.condition(binding, "Ready") == "True/Promoted" for binding in world.bindings.values())
    world.live_on()

    assert served(world) == before
    assert world.condition(world.server(), "UpToDate") == "False/RolledBack"
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/RolledBack"
    assert "exit code 45" in str(world.server().status.rolled_back[-1].message)
    counts = world.releases["r2"].status.bindings
    assert counts is not None
    assert (counts.eligible, counts.passed, counts.failed) == (2, 0, 2)

    world.annotate(world.server(), retryRequestedAt="now").live_on()
    assert all(value.startswith("r2") for value in served(world).values())


def test_a_set_that_gets_ready_after_all_before_it_is_taken_back_is_promoted() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle().run_all().settle()
    server = Key("AdapterServer", "serving", "vllm")
    world.stick(failing="crash").settle().wait(seconds=1801)
    world.crash_after_writes = len(world.writes) + 1
    with pytest.raises(CrashedError):
        world.reconcile(server)
    world.crash_after_writes = None
    assert world.condition(world.server(), "UpToDate") == "False/RollingBack"

    world.roll_out().settle()

    assert served(world)["team.classifier"].startswith("r2")
    assert world.condition(world.server(), "UpToDate") == "True/NewestRelease"


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


def test_a_binding_that_is_deleted_while_its_job_runs_leaves_nothing_and_holds_nobody_up() -> None:
    world = fleet_of("alpha", "beta")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle()
    world.delete_binding("classifier", "beta")

    world.live_on()

    assert set(served(world)) == {"alpha.classifier"}
    assert served(world)["alpha.classifier"].startswith("r2")
    assert not [job for job in world.jobs.values() if job.view.namespace == "beta"]


def test_a_member_that_leaves_during_a_roll_out_that_fails_stays_out_of_the_previous_set() -> None:
    world = fleet_of("alpha", "beta")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle().run_all().settle()
    world.stick(failing="crash").settle()
    world.delete_binding("classifier", "beta")

    world.wait(seconds=1801).settle().live_on()

    assert set(served(world)) == {"alpha.classifier"}
    assert served(world)["alpha.classifier"].startswith("r1")
    assert world.condition(world.server(), "Ready") == "True/Promoted"


def test_a_target_that_is_created_anew_gets_its_set_back() -> None:
    world = fleet_of("alpha", "beta")
    before = served(world)
    world.targets.clear()
    world.settle()
    assert world.condition(world.binding(namespace="alpha"), "Ready") == "False/TargetNotFound"

    world.add_target().settle()
    assert world.condition(world.binding(namespace="alpha"), "Ready").startswith("False/")
    world.live_on()

    assert served(world) == before
    assert world.condition(world.binding(namespace="alpha"), "Ready") == "True/Promoted"


def test_whoever_removes_the_set_again_and_again_is_not_fought() -> None:
    world = fleet_of("team")
    for _ in range(4):
        target = world.target()
        target.view = replace(target.view, serving_set=None, serving_set_digest=None)
        world.settle().wait(seconds=10)

    assert world.target().view.serving_set is None
    assert world.condition(world.server(), "Ready") == "False/FieldConflict"
    assert world.condition(world.server(), "Stalled") == "True/FieldConflict"
    world.wait(seconds=600).live_on()
    assert world.condition(world.server(), "Ready") == "True/Promoted"


def test_a_target_created_anew_during_a_roll_out_first_gets_back_what_it_served() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle().run_all().settle()
    world.targets.clear()
    world.settle().add_target().settle()

    assert '"release":"r1"' in str(world.target().view.serving_set)
    assert world.condition(world.binding(), "Ready").startswith("False/")
    world.live_on()
    assert served(world)["team.classifier"].startswith("r2")


def test_after_a_rollback_a_new_member_joins_on_the_old_base_and_the_failed_release_is_not_tried() -> None:
    world = fleet_of("alpha")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle().run_all().settle()
    world.stick(failing="crash").settle().wait(seconds=1801).settle().live_on()
    world.add(make_binding(namespace="gamma").on_server().build()).live_on()

    assert set(served(world)) == {"alpha.classifier", "gamma.classifier"}
    assert all(value.startswith("r1") for value in served(world).values())
    assert world.condition(world.server(), "UpToDate") == "False/RolledBack"


def test_time_without_a_node_is_no_failure_for_a_day() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).settle().run_all().settle().run_all().settle()
    world.stick(unschedulable="0/3 nodes are available").settle()
    world.wait(seconds=20 * 3600).settle()
    assert world.condition(world.server(), "UpToDate") == "False/RollingOut"

    world.wait(seconds=5 * 3600).settle()
    assert world.condition(world.server(), "UpToDate") == "False/RollingBack"


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


def test_no_roll_out_begins_before_every_member_has_recorded_the_last_one() -> None:
    world = World().add(make_release("r1"), make_server(), make_binding().on_server().build()).add_target()
    server = Key("AdapterServer", "serving", "vllm")
    world.settle().roll_out().reconcile(server)
    assert world.server().status.current is not None
    before = world.target().view.serving_set
    world.add(make_binding(namespace="gamma").on_server().build())

    world.reconcile(server)
    assert world.target().view.serving_set == before
    world.live_on()
    assert set(served(world)) == {"team.classifier", "gamma.classifier"}


def test_a_binding_that_moves_to_another_server_is_ready_when_that_one_serves_it() -> None:
    world = fleet_of("team", "other")
    second = make_server("second", minutes=5)
    world.add(second, make_binding("here").on_server("second").build()).add_target("second").live_on()
    moved = world.binding().spec.model_copy(update={"server_ref": ServerRef(name="second", namespace="serving")})
    world.add(world.binding().model_copy(update={"spec": moved})).settle()

    assert "team.classifier" in str(world.target("second").view.serving_set)
    assert world.condition(world.binding(), "Ready") == "False/AwaitingServer"
    world.live_on()
    assert world.condition(world.binding(), "Ready") == "True/Promoted"
    assert set(served(world)) == {"other.classifier"}


def test_an_adapter_is_not_served_on_a_release_of_the_same_name_with_other_weights() -> None:
    world = fleet_of("team")
    world.add(make_release("r2", "r1", minutes=10)).live_on()
    before = world.target().view.serving_set
    other = {"uri": "s3://models/r2", "digest": digest("other weights")}

    world.add(make_release("r2", "r1", minutes=30, weights=other), make_binding("new", source="r2").on_server().build())
    world.live_on()

    assert world.target().view.serving_set == before
    assert world.condition(world.binding(), "UpToDate") == "False/BaseSkew"
    assert world.condition(world.binding(), "Ready") == "True/Promoted"


def test_changed_gates_judge_the_same_request_again_in_a_new_attempt() -> None:
    world = fleet_of("team", server=False)
    world.add(make_release("r2", "r1", minutes=10)).live_on(gate_says(Verdict.FAILED))
    failed = world.binding().status.candidate
    assert failed is not None
    quality = Quality(gates=[Gate(metric=Metric.ACCURACY, threshold="0.4")])
    changed = world.binding().spec.model_copy(update={"quality": quality})
    world.reports.clear()

    world.add(world.binding().model_copy(update={"spec": changed})).settle()

    (job,) = world.live_jobs()
    assert job.request_digest == failed.request_digest
    assert job.view.attempt == failed.attempt + 1
    world.live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


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

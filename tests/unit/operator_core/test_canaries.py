"""Who goes first, when the others follow, and when they do not."""

from collections.abc import Callable

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.halting import CANARY, fail, on_servers, release_says, rollout, served_by, told
from fleet.jobs import exits, gate_says, run
from fleet.world import World
from relora_contract.report import Verdict
from relora_operator.core.actions import Key

MEMBERS = {"a": "one", "b": "two", "c": "two"}


def test_canaries_go_first_with_their_whole_server_and_the_others_follow() -> None:
    world = on_servers(MEMBERS, ("one",)).settle().run_all().settle()
    assert [job.view.name[0] for job in world.live_jobs()] == ["a"]
    assert told(world, "b") == "False/AwaitingCanaries"
    assert world.condition(world.server("two"), "UpToDate") == "False/AwaitingCanaries"
    progress = world.releases["r2"].status.canaries
    assert progress is not None
    assert (progress.matched, progress.promoted, progress.passed_time) == (1, 0, None)

    world.run_all().settle()
    assert told(world, "b") == "False/AwaitingCanaries", "a gate is not yet a promotion"
    world.roll_out("one").settle()
    assert sorted(job.view.name[0] for job in world.live_jobs()) == ["b", "c"]
    world.live_on()
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_a_binding_without_a_server_is_a_canary_by_its_own_labels() -> None:
    world = World().add(make_release("r1"))
    for name in ("a", "b"):
        binding = make_binding(name).build()
        labels = {"canary": "yes"} if name == "b" else {}
        world.add(binding.model_copy(update={"metadata": binding.metadata.model_copy(update={"labels": labels})}))
    world.live_on().add(make_release("r2", "r1", minutes=10, rollout={"canary": CANARY})).settle().run_all().settle()
    assert [job.view.name[0] for job in world.live_jobs()] == ["b"]
    world.live_on()
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_a_label_on_a_binding_with_a_server_makes_no_canary() -> None:
    world = on_servers(MEMBERS, ())
    binding = world.binding("a")
    labelled = binding.metadata.model_copy(update={"labels": {"canary": "yes"}})
    world.add(binding.model_copy(update={"metadata": labelled})).live_on()
    assert release_says(world)["Halted"] == "True/CanariesMissing"


def test_a_canary_that_fails_halts_and_nothing_else_has_moved() -> None:
    world = on_servers(MEMBERS, ("one",)).live_on(fail("a"))
    assert release_says(world)["Halted"] == "True/CanaryFailed"
    assert {job.view.name[0] for job in world.jobs.values() if job.view.kind == "readaptation"} == {"a"}
    assert [served_by(world, name) for name in ("one", "two")] == ["r1", "r1"]
    assert [told(world, name) for name in "abc"] == ["False/GateFailed", *["False/ReleaseHalted"] * 2]

    rollout(world, failureBudget={"acceptedFailures": 1}).live_on()
    assert release_says(world)["Halted"] == "-"
    assert [served_by(world, name) for name in ("one", "two")] == ["r1", "r2"]


def test_a_canary_whose_roll_out_is_taken_back_halts() -> None:
    world = on_servers(MEMBERS, ("one",)).settle().run_all().settle().run_all().settle()
    world.stick("one", failing="crash").settle().wait(seconds=1801).settle().live_on()
    assert release_says(world)["Halted"] == "True/CanaryFailed"
    assert told(world, "a") == "False/RolledBack"
    assert told(world, "b") == "False/ReleaseHalted"


def test_canaries_that_end_for_a_reason_of_their_tenant_halt_when_none_is_left() -> None:
    world = on_servers(MEMBERS, ("one",)).live_on(exits(43))
    assert told(world, "a") == "False/InvalidData"
    assert release_says(world)["Halted"] == "True/CanaryFailed"
    rollout(world, failureBudget={"acceptedFailures": 1}).live_on()
    assert served_by(world, "two") == "r2"


def test_one_of_several_canaries_is_enough_and_a_later_failure_of_another_still_halts() -> None:
    members = {"a": "one", "b": "two", "c": "three"}
    world = on_servers(members, ("one", "two")).settle().run_all().settle()
    first, second = world.live_jobs()
    run(world, first)
    world.settle().roll_out("one").settle()
    assert sorted(job.view.name[0] for job in world.live_jobs()) == ["b", "c"]
    run(world, second, gate_says(Verdict.FAILED))
    world.live_on()
    assert release_says(world)["Halted"] == "True/CanaryFailed"


@pytest.mark.parametrize(("canaries", "least"), [((), 1), (("one",), 2)])
def test_too_few_canaries_halt_before_anything_starts(canaries: tuple[str, ...], least: int) -> None:
    world = on_servers(MEMBERS, canaries, canary={**CANARY, "minPromoted": least})
    world.settle()
    assert release_says(world)["Halted"] == "True/CanariesMissing"
    assert world.jobs == {}, "not even for a delta"

    world.live_on()
    rollout(world, canary={**CANARY, "selector": {}}).live_on()
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_the_deadline_of_the_canaries_halts_and_a_later_one_resumes() -> None:
    canary = {**CANARY, "deadlineSeconds": 600}
    world = on_servers(MEMBERS, ("one",), canary=canary).settle().run_all().settle()
    plan = world.reconcile(Key("BaseModelRelease", "", "r2"))
    assert plan.requeue_after_seconds == 600
    world.wait(seconds=600).settle()
    assert release_says(world)["Halted"] == "True/CanaryDeadlineExceeded"
    assert [job.view.name[0] for job in world.live_jobs()] == ["a"], "what runs goes on"

    rollout(world, canary={**CANARY, "deadlineSeconds": 3600}).settle()
    assert release_says(world)["Halted"] == "-"
    world.live_on()
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_a_deadline_that_is_accepted_lets_the_others_go() -> None:
    canary = {**CANARY, "deadlineSeconds": 600}
    world = on_servers(MEMBERS, ("one",), canary=canary).settle().run_all().settle().wait(seconds=600).settle()
    rollout(world, failureBudget={"acceptedFailures": 1}).settle()
    assert release_says(world)["Halted"] == "-"
    assert sorted(job.view.name[0] for job in world.live_jobs()) == ["a", "b", "c"]


def test_a_server_with_pinned_adapters_for_the_release_waits_for_the_canaries_too() -> None:
    world = on_servers(MEMBERS, ("one",))
    world.add(make_server("pinned"), make_binding("p", source="r2").on_server("pinned").build()).add_target("pinned")
    pinned = {"releaseName": "r2", "uri": "s3://adapters/new", "digest": world.binding("p").spec.source.digest}
    for name in ("b", "c"):
        binding = world.binding(name)
        spec = binding.spec.model_dump(by_alias=True, exclude_none=True)
        world.add(binding.model_copy(update={"spec": type(binding.spec).model_validate({**spec, "source": pinned})}))
    world.settle().run_all(kind="delta").settle()
    assert served_by(world, "two") == "r1"
    assert world.condition(world.server("two"), "UpToDate") == "False/AwaitingCanaries"
    world.live_on()
    assert served_by(world, "two") == "r2"


def test_what_the_canaries_let_go_stays_so_although_a_canary_disappears() -> None:
    world = on_servers(MEMBERS, ("one",)).settle().run_all().settle().run_all().settle().roll_out("one").settle()
    world.delete_binding("a")
    world.live_on()
    assert release_says(world)["Halted"] == "-"
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_a_first_release_with_canaries_needs_none_while_nobody_takes_part() -> None:
    world = World().add(make_release("r1", rollout={"canary": CANARY})).live_on()
    assert world.condition(world.releases["r1"], "Halted") == "-"


OUTCOMES: list[Callable[[World], object]] = [
    lambda world: world.live_on(fail("a")),
    lambda world: world.live_on(exits(43)),
    lambda world: world.settle().run_all().settle().wait(seconds=600).settle(),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_whatever_halts_the_canaries_the_number_in_the_message_resumes(outcome: Callable[[World], object]) -> None:
    world = on_servers(MEMBERS, ("one",), canary={**CANARY, "deadlineSeconds": 600})
    outcome(world)
    halt = next(one for one in world.releases["r2"].status.conditions if one.type == "Halted")
    number = int(halt.message.partition("acceptedFailures to ")[2].split()[0])
    rollout(world, failureBudget={"acceptedFailures": number}).live_on(fail("a"))
    assert release_says(world)["Halted"] == "-"
    assert served_by(world, "two") == "r2"

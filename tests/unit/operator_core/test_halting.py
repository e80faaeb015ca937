"""When a release is halted, what stands still then, and what lets it go on."""

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.halting import NONE_MAY_FAIL, fail, many, release_says, rollout, served_by, told
from fleet.jobs import Script, StepEnd, exits, gate_says, run
from fleet.world import World
from relora_contract.api.release import FailureBudget
from relora_contract.report import Verdict
from relora_operator.core.actions import Key

# ---- the budget ----


def halts(size: int, failing: int, **budget: object) -> bool:
    world = many(size, failureBudget=budget, maxRunningJobs=size)
    world.live_on(fail(*(f"b{index:02}" for index in range(failing))))
    return world.condition(world.releases["r2"], "Halted") != "-"


@pytest.mark.parametrize(
    ("size", "failing", "budget", "halted"),
    [
        (10, 1, {}, False),  # 10 % of those that ended, and no more
        (10, 2, {}, True),
        (9, 9, {}, False),  # fewer than the sample
        (4, 2, {"minimumSample": 4, "maxFailed": "50%"}, False),
        (4, 3, {"minimumSample": 4, "maxFailed": "50%"}, True),
        (3, 1, {"maxFailed": "1"}, False),
        (3, 2, {"maxFailed": 1}, True),  # a number needs no sample
        (3, 1, {"maxFailed": "0%", "minimumSample": 3}, True),
        (3, 3, {"maxFailed": "100%", "minimumSample": 1}, False),
        (3, 2, {"maxFailed": "0", "acceptedFailures": 2}, False),
        (3, 3, {"maxFailed": "0", "acceptedFailures": 2}, True),
        (3, 3, {"maxFailed": "1", "acceptedFailures": 2}, False),
    ],
)
def test_more_failures_than_the_budget_halt(size: int, failing: int, budget: dict[str, object], halted: bool) -> None:  # noqa: FBT001 - a column
    assert halts(size, failing, **budget) is halted


def test_the_defaults_of_the_budget_are_the_documented_ones() -> None:
    budget = FailureBudget()
    assert budget.effective_max_failed == "10%"
    assert (budget.effective_minimum_sample, budget.effective_accepted_failures) == (10, 0)


@pytest.mark.parametrize(
    ("script", "counts"),
    [
        (gate_says(Verdict.FAILED), True),
        (exits(44), True),
        (exits(46), True),
        (exits(1), True),
        (gate_says(Verdict.INCONCLUSIVE), False),
        (exits(42), False),
        (exits(43), False),
        (exits(45), False),
        (lambda job, step: StepEnd(exit_code=137, oom=True), False),
    ],
)
def test_only_what_the_release_may_have_caused_counts(script: Script, counts: bool) -> None:  # noqa: FBT001 - a column
    world = many(1, failureBudget=NONE_MAY_FAIL)
    for _ in range(4):
        world.live_on(script).wait(seconds=21_600)
    assert release_says(world)["Halted"] == ("True/FailureBudgetExceeded" if counts else "-")


def test_a_roll_out_that_fails_counts_for_every_binding_of_the_server_and_a_blocked_one_does_not() -> None:
    world = World().add(make_release("r1"), make_server()).add_target()
    for name in ("a", "b"):
        world.add(make_binding(name).on_server().build())
    world.live_on().add(make_release("r2", "r1", minutes=10, rollout={"failureBudget": {"maxFailed": "1"}}))
    world.settle().run_all().settle().run_all().settle().stick(failing="crash").settle().wait(seconds=1801)
    world.settle().live_on()
    assert release_says(world)["Halted"] == "True/FailureBudgetExceeded"
    assert told(world, "a") == told(world, "b") == "False/RolledBack"


def test_while_halted_jobs_end_and_publish_but_none_starts_and_nothing_is_promoted() -> None:
    world = many(4, failureBudget=NONE_MAY_FAIL, maxRunningJobs=2).settle().run_all().settle()
    first, second = world.live_jobs()
    run(world, first, gate_says(Verdict.FAILED))
    world.settle()
    assert release_says(world) == {
        "Ready": "False/FailureBudgetExceeded",
        "Halted": "True/FailureBudgetExceeded",
        "Stalled": "True/FailureBudgetExceeded",
        "Complete": "False/FailureBudgetExceeded",
    }
    assert not world.grants.get("r2", frozenset()) - {Key("AdapterBinding", "team", second.view.name.rsplit("-", 2)[0])}
    assert world.live_jobs() == [second]

    run(world, second)
    world.live_on()
    candidate = world.binding(second.view.name.rsplit("-", 2)[0]).status.candidate
    assert candidate is not None
    assert candidate.adapter is not None
    assert sorted(told(world, f"b{index:02}") for index in range(4)) == [
        "False/GateFailed",
        *["False/ReleaseHalted"] * 3,
    ]
    for binding in world.bindings.values():
        assert world.condition(binding, "Ready") == "True/Promoted"
        assert world.condition(binding, "Stalled") == "-"
        assert binding.status.current is not None
        assert binding.status.current.release_name == "r1"

    rollout(world, failureBudget={**NONE_MAY_FAIL, "acceptedFailures": 1}).live_on()
    assert release_says(world)["Halted"] == "-"
    assert release_says(world)["Complete"] == "True/CompletedWithFailures"
    counts = world.releases["r2"].status.bindings
    assert counts is not None
    assert (counts.promoted, counts.failed) == (3, 1)


def test_what_passed_and_is_held_back_is_neither_failed_nor_at_its_end() -> None:
    world = many(2, failureBudget=NONE_MAY_FAIL).settle().run_all().settle()
    first, second = world.live_jobs()
    run(world, first, gate_says(Verdict.FAILED))
    world.settle()
    run(world, second)
    world.live_on()
    assert release_says(world)["Complete"] == "False/FailureBudgetExceeded"
    assert [sample.reason for sample in world.releases["r2"].status.failure_samples] == ["GateFailed"]


def test_a_halt_says_which_number_resumes_it() -> None:
    world = many(3, failureBudget=NONE_MAY_FAIL).live_on(fail("b00", "b01"))
    halt = next(one for one in world.releases["r2"].status.conditions if one.type == "Halted")
    assert halt.message.endswith("acceptedFailures to 2 to go on")


def test_a_halted_release_keeps_servers_that_could_move_and_not_those_that_are_on_their_way() -> None:
    members = {"a": "one", "b": "two", "c": "three"}
    world = World().add(make_release("r1"))
    for server in members.values():
        world.add(make_server(server)).add_target(server)
    for name, server in members.items():
        world.add(make_binding(name).on_server(server).build())
    world.live_on().add(make_release("r2", "r1", minutes=10, rollout={"failureBudget": NONE_MAY_FAIL}))
    world.settle().run_all().settle()
    by_name = {job.view.name[0]: job for job in world.live_jobs()}
    run(world, by_name["a"])
    world.settle()
    assert world.server("one").status.candidate is not None
    run(world, by_name["b"], gate_says(Verdict.FAILED))
    world.settle()
    run(world, by_name["c"])
    world.live_on()

    assert [served_by(world, name) for name in ("one", "two", "three")] == ["r2", "r1", "r1"]
    assert world.condition(world.server("three"), "UpToDate") == "False/ReleaseHalted"
    assert world.condition(world.server("three"), "Ready") == "True/Promoted"
    assert told(world, "c") == "False/ReleaseHalted"


def test_a_newer_release_goes_on_where_an_older_one_is_halted() -> None:
    world = many(3, failureBudget=NONE_MAY_FAIL).live_on(fail("b00"))
    world.add(make_release("r3", "r2", minutes=20)).live_on()
    assert world.condition(world.releases["r3"], "Complete") == "True/AllPromoted"
    assert world.condition(world.releases["r2"], "Halted") == "-"


def test_degrade_is_for_failures_of_ones_own_and_not_for_a_halt() -> None:
    world = many(2, failureBudget=NONE_MAY_FAIL, maxRunningJobs=1)
    for name in ("b00", "b01"):
        binding = world.binding(name)
        spec = binding.spec.model_dump(by_alias=True, exclude_none=True)
        degrading = type(binding.spec).model_validate({**spec, "updatePolicy": {"onFailure": "Degrade"}})
        world.add(binding.model_copy(update={"spec": degrading}))
    world.live_on(gate_says(Verdict.FAILED))
    stalled = sorted(world.condition(binding, "Stalled") for binding in world.bindings.values())
    assert stalled == ["-", "True/GateFailed"]


# ---- who resumes a halt ----


def halted_half_way() -> World:
    """Two of ten bindings failed, and ten more run."""
    world = many(20, maxRunningJobs=20).settle().run_all(kind="delta").settle()
    for job in sorted(world.live_jobs(), key=lambda job: job.view.name)[:10]:
        run(world, job, fail("b00", "b01"))
    world.settle()
    assert release_says(world)["Halted"] == "True/FailureBudgetExceeded"
    return world


def test_jobs_that_pass_while_a_release_is_halted_do_not_resume_it() -> None:
    world = halted_half_way().live_on()
    counts = world.releases["r2"].status.bindings
    assert counts is not None
    assert (counts.failed, counts.promoted + counts.passed) == (2, 18)  # no more than 10 % by now
    assert release_says(world)["Halted"] == "True/FailureBudgetExceeded"

    rollout(world, failureBudget={"acceptedFailures": 2}).live_on()
    assert release_says(world)["Complete"] == "True/CompletedWithFailures"


def test_what_becomes_of_the_bindings_that_failed_does_not_resume_a_halted_release() -> None:
    world = halted_half_way()
    world.delete_binding("b00")
    failed = world.binding("b01")
    spec = failed.spec.model_dump(by_alias=True, exclude_none=True)
    changed = type(failed.spec).model_validate({**spec, "readaptation": {"seed": 1}})
    world.add(failed.model_copy(update={"spec": changed})).live_on()
    assert told(world, "b01") == "False/ReleaseHalted"
    assert release_says(world)["Halted"] == "True/FailureBudgetExceeded"

    rollout(world, maxRunningJobs=3).live_on()  # whoever changes the release has it judged anew
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_a_change_of_the_release_that_accepts_too_little_leaves_it_halted() -> None:
    world = halted_half_way()
    rollout(world, failureBudget={"acceptedFailures": 0, "maxFailed": "5%"}).live_on()
    assert release_says(world)["Halted"] == "True/FailureBudgetExceeded"


def test_a_failure_for_an_earlier_release_halts_no_newer_one() -> None:
    world = many(1, failureBudget={"maxFailed": "1"})
    degrading = make_binding("b00", updatePolicy={"onFailure": "Degrade"}).build().spec
    world.add(world.binding("b00").model_copy(update={"spec": degrading})).live_on(fail("b00"))
    assert world.condition(world.binding("b00"), "Stalled") == "True/GateFailed"

    world.add(make_release("r3", "r2", minutes=20, rollout={"failureBudget": NONE_MAY_FAIL}))
    world.reconcile(Key("BaseModelRelease", "", "r3"))

    assert world.condition(world.releases["r3"], "Halted") == "-"
    assert world.live_on().condition(world.releases["r3"], "Complete") == "True/AllPromoted"

"""When a release is halted, what stands still then, and what lets it go on."""

from collections.abc import Callable

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.jobs import Script, SimJob, StepEnd, all_pass, exits, gate_says, run
from fleet.world import World
from relora_contract.api.release import FailureBudget
from relora_contract.report import Verdict
from relora_operator.core.actions import Key

CANARY = {"selector": {"matchLabels": {"canary": "yes"}}}
NONE_MAY_FAIL = {"maxFailed": "0"}


def fleet(size: int, **rollout: object) -> World:
    """Bindings b00, b01, … without a server on the first release, and a second one."""
    world = World().add(make_release("r1"))
    for index in range(size):
        world.add(make_binding(f"b{index:02}").build())
    return world.live_on().add(make_release("r2", "r1", minutes=10, rollout=rollout))


def served_fleet(members: dict[str, str], canaries: tuple[str, ...], **rollout: object) -> World:
    """Bindings by name on the servers that they name, of which some are canaries, and a second release."""
    world = World().add(make_release("r1"))
    for name in sorted(set(members.values())):
        server = make_server(name)
        labels = {"canary": "yes"} if name in canaries else {}
        world.add(server.model_copy(update={"metadata": server.metadata.model_copy(update={"labels": labels})}))
        world.add_target(name)
    for name, server_name in members.items():
        world.add(make_binding(name).on_server(server_name).build())
    return world.live_on().add(make_release("r2", "r1", minutes=10, rollout={"canary": CANARY, **rollout}))


def fail(*names: str) -> Script:
    """The gates of these bindings fail, those of the others pass."""

    def script(job: SimJob, step: str) -> StepEnd:
        failing = job.view.name.rsplit("-", 2)[0] in names
        return gate_says(Verdict.FAILED)(job, step) if failing else all_pass(job, step)

    return script


def rollout(world: World, **changes: object) -> World:
    """Change fields of the second release's `spec.rollout`."""
    release = world.releases["r2"]
    spec = release.spec.model_dump(by_alias=True, exclude_none=True)
    spec["rollout"] = {**spec.get("rollout", {}), **changes}
    return world.add(release.model_copy(update={"spec": type(release.spec).model_validate(spec)}))


def told(world: World, name: str) -> str:
    return world.condition(world.binding(name), "UpToDate")


def release_says(world: World) -> dict[str, str]:
    return {kind: world.condition(world.releases["r2"], kind) for kind in ("Ready", "Halted", "Stalled", "Complete")}


def served_by(world: World, server: str) -> str:
    serving = world.target(server).serving
    assert serving is not None
    return serving.release


# ---- the budget ----


def halts(size: int, failing: int, **budget: object) -> bool:
    world = fleet(size, failureBudget=budget, maxRunningJobs=size)
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
    world = fleet(1, failureBudget=NONE_MAY_FAIL)
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
    world = fleet(4, failureBudget=NONE_MAY_FAIL, maxRunningJobs=2).settle().run_all().settle()
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
    world = fleet(2, failureBudget=NONE_MAY_FAIL).settle().run_all().settle()
    first, second = world.live_jobs()
    run(world, first, gate_says(Verdict.FAILED))
    world.settle()
    run(world, second)
    world.live_on()
    assert release_says(world)["Complete"] == "False/FailureBudgetExceeded"
    assert [sample.reason for sample in world.releases["r2"].status.failure_samples] == ["GateFailed"]


def test_a_halt_says_which_number_resumes_it() -> None:
    world = fleet(3, failureBudget=NONE_MAY_FAIL).live_on(fail("b00", "b01"))
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
    world = fleet(3, failureBudget=NONE_MAY_FAIL).live_on(fail("b00"))
    world.add(make_release("r3", "r2", minutes=20)).live_on()
    assert world.condition(world.releases["r3"], "Complete") == "True/AllPromoted"
    assert world.condition(world.releases["r2"], "Halted") == "-"


def test_degrade_is_for_failures_of_ones_own_and_not_for_a_halt() -> None:
    world = fleet(2, failureBudget=NONE_MAY_FAIL, maxRunningJobs=1)
    for name in ("b00", "b01"):
        binding = world.binding(name)
        spec = binding.spec.model_dump(by_alias=True, exclude_none=True)
        degrading = type(binding.spec).model_validate({**spec, "updatePolicy": {"onFailure": "Degrade"}})
        world.add(binding.model_copy(update={"spec": degrading}))
    world.live_on(gate_says(Verdict.FAILED))
    stalled = sorted(world.condition(binding, "Stalled") for binding in world.bindings.values())
    assert stalled == ["-", "True/GateFailed"]


# ---- canaries ----

MEMBERS = {"a": "one", "b": "two", "c": "two"}


def test_canaries_go_first_with_their_whole_server_and_the_others_follow() -> None:
    world = served_fleet(MEMBERS, ("one",)).settle().run_all().settle()
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
    world = served_fleet(MEMBERS, ())
    binding = world.binding("a")
    labelled = binding.metadata.model_copy(update={"labels": {"canary": "yes"}})
    world.add(binding.model_copy(update={"metadata": labelled})).live_on()
    assert release_says(world)["Halted"] == "True/CanariesMissing"


def test_a_canary_that_fails_halts_and_nothing_else_has_moved() -> None:
    world = served_fleet(MEMBERS, ("one",)).live_on(fail("a"))
    assert release_says(world)["Halted"] == "True/CanaryFailed"
    assert {job.view.name[0] for job in world.jobs.values() if job.view.kind == "readaptation"} == {"a"}
    assert [served_by(world, name) for name in ("one", "two")] == ["r1", "r1"]
    assert [told(world, name) for name in "abc"] == ["False/GateFailed", *["False/ReleaseHalted"] * 2]

    rollout(world, failureBudget={"acceptedFailures": 1}).live_on()
    assert release_says(world)["Halted"] == "-"
    assert [served_by(world, name) for name in ("one", "two")] == ["r1", "r2"]


def test_a_canary_whose_roll_out_is_taken_back_halts() -> None:
    world = served_fleet(MEMBERS, ("one",)).settle().run_all().settle().run_all().settle()
    world.stick("one", failing="crash").settle().wait(seconds=1801).settle().live_on()
    assert release_says(world)["Halted"] == "True/CanaryFailed"
    assert told(world, "a") == "False/RolledBack"
    assert told(world, "b") == "False/ReleaseHalted"


def test_canaries_that_end_for_a_reason_of_their_tenant_halt_when_none_is_left() -> None:
    world = served_fleet(MEMBERS, ("one",)).live_on(exits(43))
    assert told(world, "a") == "False/InvalidData"
    assert release_says(world)["Halted"] == "True/CanaryFailed"
    rollout(world, failureBudget={"acceptedFailures": 1}).live_on()
    assert served_by(world, "two") == "r2"


def test_one_of_several_canaries_is_enough_and_a_later_failure_of_another_still_halts() -> None:
    members = {"a": "one", "b": "two", "c": "three"}
    world = served_fleet(members, ("one", "two")).settle().run_all().settle()
    first, second = world.live_jobs()
    run(world, first)
    world.settle().roll_out("one").settle()
    assert sorted(job.view.name[0] for job in world.live_jobs()) == ["b", "c"]
    run(world, second, gate_says(Verdict.FAILED))
    world.live_on()
    assert release_says(world)["Halted"] == "True/CanaryFailed"


@pytest.mark.parametrize(("canaries", "least"), [((), 1), (("one",), 2)])
def test_too_few_canaries_halt_before_anything_starts(canaries: tuple[str, ...], least: int) -> None:
    world = served_fleet(MEMBERS, canaries, canary={**CANARY, "minPromoted": least})
    world.settle()
    assert release_says(world)["Halted"] == "True/CanariesMissing"
    assert world.jobs == {}, "not even for a delta"

    world.live_on()
    rollout(world, canary={**CANARY, "selector": {}}).live_on()
    assert release_says(world)["Complete"] == "True/AllPromoted"


def test_the_deadline_of_the_canaries_halts_and_a_later_one_resumes() -> None:
    canary = {**CANARY, "deadlineSeconds": 600}
    world = served_fleet(MEMBERS, ("one",), canary=canary).settle().run_all().settle()
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
    world = served_fleet(MEMBERS, ("one",), canary=canary).settle().run_all().settle().wait(seconds=600).settle()
    rollout(world, failureBudget={"acceptedFailures": 1}).settle()
    assert release_says(world)["Halted"] == "-"
    assert sorted(job.view.name[0] for job in world.live_jobs()) == ["a", "b", "c"]


def test_a_server_with_pinned_adapters_for_the_release_waits_for_the_canaries_too() -> None:
    world = served_fleet(MEMBERS, ("one",))
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
    world = served_fleet(MEMBERS, ("one",)).settle().run_all().settle().run_all().settle().roll_out("one").settle()
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
    world = served_fleet(MEMBERS, ("one",), canary={**CANARY, "deadlineSeconds": 600})
    outcome(world)
    halt = next(one for one in world.releases["r2"].status.conditions if one.type == "Halted")
    number = int(halt.message.partition("acceptedFailures to ")[2].split()[0])
    rollout(world, failureBudget={"acceptedFailures": number}).live_on(fail("a"))
    assert release_says(world)["Halted"] == "-"
    assert served_by(world, "two") == "r2"

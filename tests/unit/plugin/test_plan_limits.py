"""What `kubectl relora plan` tells of canaries, of the failure budget and of a queue: what the operator then does."""

import pytest

from fleet.builders import make_profile, make_release
from fleet.halting import CANARY, NONE_MAY_FAIL, fail, many, on_servers, rollout
from fleet.jobs import run as run_job
from fleet.world import World
from plugin.stories import STEP_SECONDS, ended, fleet, fleet_of
from relora_contract.api.release import BaseModelRelease
from relora_kubectl.plan import PlanView, plan_view
from relora_kubectl.plan_text import plan_blocks
from relora_kubectl.tables import plain
from relora_operator.core.reasons import Reason

MEMBERS = {"a": "one", "b": "two", "c": "two"}


def plan_of(world: World, wanted: BaseModelRelease) -> PlanView:
    return plan_view(wanted, fleet_of(world), world.now)


def text_of(view: PlanView) -> str:
    return "\n".join(plain(plan_blocks(view, 20)))


def before_r2(world: World) -> tuple[World, BaseModelRelease]:
    """Return a world without its second release, and that release."""
    return world, world.releases.pop("r2")


def test_canaries_are_named_and_start_first_and_the_others_after_them() -> None:
    world, r2 = before_r2(on_servers(MEMBERS, ("one",), maxRunningJobs=1))
    view = plan_of(world, r2)
    assert view.canaries is not None
    assert [(one.kind, one.name, one.bindings) for one in view.canaries.units] == [("AdapterServer", "one", 1)]
    text = text_of(view)
    assert "canaries: server serving/one, 1 binding\n" in text
    assert "the other 2 bindings follow when 1 of 1 is promoted; a failure among the canaries halts, or 1 d" in text

    world.add(r2).settle().run_all(kind="delta").settle()
    started: list[str] = []
    while jobs := world.settle().live_jobs():
        started += [job.view.name[0] for job in jobs]
        run_job(world, jobs[0])
        world.settle().roll_out("one").settle()
    assert [job.name for job in view.jobs] == started


def test_the_others_start_when_enough_canaries_have_ended() -> None:
    world = ended()
    canary = {"selector": {"matchExpressions": [{"key": "never", "operator": "DoesNotExist"}]}}
    view = plan_of(world, make_release("r3", "r2", rollout={"maxRunningJobs": 1, "canary": canary}))
    assert [(job.name, job.start_seconds) for job in view.jobs][-1] == ("alone", 120 + 2 * STEP_SECONDS)
    assert view.canaries is not None
    assert sum(one.bindings for one in view.canaries.units) == 3


def test_without_enough_canaries_nothing_would_start() -> None:
    world, r2 = before_r2(on_servers(MEMBERS, ()))
    view = plan_of(world, r2)
    assert view.lacking is not None
    assert (view.lacking.reason, view.works) == (Reason.CANARIES_MISSING, False)
    assert world.add(r2).settle().condition(world.releases["r2"], "Halted") == "True/CanariesMissing"


def test_canaries_that_were_promoted_hold_nobody_back_any_more() -> None:
    world = on_servers(MEMBERS, ("one",)).settle().run_all().settle().run_all().settle().roll_out("one").settle()
    view = plan_of(world, world.releases["r2"])
    assert (view.canaries, view.lacking) == (None, None)


@pytest.mark.parametrize(
    ("size", "budget", "told"),
    [
        (20, {}, "halts after 3 failures (more than 10 % fail), or 2 among the first 10\n"),
        (10, {}, "halts after 2 failures (more than 10 % fail)\n"),
        (9, {}, "no number of failures halts: fewer than 10 bindings take part\n"),
        (3, {"maxFailed": "100%", "minimumSample": 1}, "no number of failures halts: 100 % may fail\n"),
        (3, NONE_MAY_FAIL, "halts after 1 failure (more than 0 fail)\n"),
        (3, {**NONE_MAY_FAIL, "acceptedFailures": 1}, "halts after 2 failures (more than 0 fail)\n"),
        (3, {"maxFailed": "5"}, "no number of failures halts: 5 may fail\n"),
    ],
)
def test_so_many_failures_halt(size: int, budget: dict[str, object], told: str) -> None:
    world, r2 = before_r2(many(size, failureBudget=budget, maxRunningJobs=size))
    view = plan_of(world, r2)
    assert told in text_of(view)
    assert view.budget is not None
    names = sorted(binding.metadata.name for binding in world.bindings.values())
    for failing in (view.budget.halts_at or size + 1) - 1, view.budget.halts_at or size:
        played, _ = before_r2(many(size, failureBudget=budget, maxRunningJobs=size))
        played.add(r2).live_on(fail(*names[:failing]))
        halted = played.condition(played.releases["r2"], "Halted") != "-"
        assert halted is (failing == view.budget.halts_at)


def test_a_change_that_leaves_a_release_halted_is_told_and_one_that_resumes_it_too() -> None:
    world = many(3, failureBudget=NONE_MAY_FAIL).live_on(fail("b00"))
    halted = plan_of(world, world.releases["r2"])
    assert halted.lacking is not None
    assert (halted.lacking.reason, halted.works) == (Reason.FAILURE_BUDGET_EXCEEDED, False)

    changed = rollout(many(3), failureBudget={**NONE_MAY_FAIL, "acceptedFailures": 1}).releases["r2"]
    assert plan_of(world, changed).lacking is None


def test_a_queue_sets_the_pace_and_no_time_is_told() -> None:
    world = ended().add(make_profile(scheduling={"localQueueName": "gpus"}))
    view = plan_of(world, make_release("r3", "r2", rollout={"maxQueuedJobs": 7}))
    assert (view.queue, view.max_queued_jobs, view.max_running_jobs) == ("gpus", 7, None)
    assert [job.start_seconds for job in view.jobs] == [None] * 3
    assert view.estimate is not None
    assert (view.estimate.job_seconds, view.estimate.seconds) == (3 * STEP_SECONDS, None)
    text = text_of(view)
    assert (
        "3 Jobs to start, after 1 delta Job\nKueue sets the pace: LocalQueue gpus, at most 7 Jobs wait in it\n" in text
    )
    assert "about 0.5 hours of Jobs (3 re-adaptations of 10 min each)\n" in text


def test_a_limit_beside_a_queue_is_told_too() -> None:
    world = fleet("alpha").add(make_profile(scheduling={"localQueueName": "gpus"}))
    text = text_of(plan_of(world, make_release("r2", "r1", rollout={"maxRunningJobs": 3, "canary": CANARY})))
    assert "Jobs to start, at most 3 at a time, after" in text

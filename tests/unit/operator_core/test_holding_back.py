"""What owners hold back: suspended releases, bindings and servers, approvals, and the best instead of the first."""

from dataclasses import replace

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.jobs import SimJob, StepEnd, gate_says, run
from fleet.stories import fleet_of
from fleet.world import Watched, World
from relora_contract.api.release import BindingCounts
from relora_contract.report import Verdict
from relora_operator.core.actions import Key
from relora_operator.core.observed import ContainerView, PodView

SECOND = make_release("r2", "r1", minutes=10)


def changed(world: World, one: Watched, **spec: object) -> World:
    """Change fields of an object's spec, as `kubectl apply` would."""
    before = one.spec.model_dump(by_alias=True, exclude_none=True)
    return world.add(one.model_copy(update={"spec": type(one.spec).model_validate({**before, **spec})}))


def release_of(world: World) -> str:
    serving = world.target().serving
    assert serving is not None
    return serving.release


def counts(world: World, release: str = "r2") -> BindingCounts:
    found = world.releases[release].status.bindings
    assert found is not None
    return found


# ---- suspend ----


def test_a_suspended_release_starts_no_job_not_even_for_a_delta_and_goes_on_when_resumed() -> None:
    world = fleet_of("alpha", "beta", server=False)
    world.add(make_release("r2", "r1", minutes=10, suspend=True)).live_on()

    assert world.jobs == {}
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/Suspended"
    assert world.condition(world.binding(namespace="alpha"), "Ready") == "True/Promoted"
    assert world.condition(world.releases["r2"], "Complete") == "False/Suspended"
    assert world.condition(world.releases["r2"], "Ready") == "True/Accepted"

    changed(world, world.releases["r2"], suspend=False).live_on()
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"


def test_a_release_that_is_suspended_midway_lets_its_jobs_run_and_takes_back_unused_slots() -> None:
    world = fleet_of("alpha", "beta", server=False)
    world.add(make_release("r2", "r1", minutes=10, rollout={"maxRunningJobs": 1})).settle().run_all().settle()
    (job,) = world.live_jobs()
    run(world, job)
    changed(world, world.releases["r2"], suspend=True).live_on()

    assert not world.grants.get("r2")
    assert sorted(world.condition(binding, "UpToDate") for binding in world.bindings.values()) == [
        "False/Suspended",
        "True/NewestRelease",
    ]


def test_a_suspended_binding_keeps_serving_is_skipped_and_counts_as_none_that_failed() -> None:
    world = fleet_of("alpha", "beta", server=False)
    changed(world, world.binding(namespace="beta"), suspend=True)
    world.add(SECOND).live_on()

    held = world.binding(namespace="beta")
    assert world.condition(held, "UpToDate") == "False/Suspended"
    assert world.condition(held, "Ready") == "True/Promoted"
    assert world.condition(held, "Stalled") == "-"
    assert (counts(world).promoted, counts(world).skipped, counts(world).failed) == (1, 1, 0)
    assert world.releases["r2"].status.failure_samples == []
    assert world.condition(world.releases["r2"], "Complete") == "True/CompletedWithFailures"

    changed(world, held, suspend=False).live_on()
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"


def test_a_binding_that_is_suspended_while_its_job_runs_lets_it_end() -> None:
    world = fleet_of(server=False)
    world.add(SECOND).settle().run_all().settle()
    changed(world, world.binding(), suspend=True).live_on()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_a_suspended_member_keeps_its_server_and_the_others_know_that_nothing_moves_by_itself() -> None:
    world = fleet_of("alpha", "beta")
    changed(world, world.binding(namespace="beta"), suspend=True)
    world.add(SECOND).live_on()

    assert release_of(world) == "r1"
    assert [(one.namespace, one.reason) for one in world.server().status.blockers] == [("beta", "Suspended")]
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/ServerBlocked"


def test_a_suspended_server_begins_no_roll_out_but_puts_a_lost_set_back() -> None:
    world = fleet_of("alpha", "beta")
    changed(world, world.server(), suspend=True)
    world.add(SECOND).live_on()

    assert release_of(world) == "r1"
    assert world.condition(world.server(), "UpToDate") == "False/Suspended"
    assert world.condition(world.server(), "Ready") == "True/Promoted"
    assert world.condition(world.server(), "Stalled") == "-"
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/Suspended"
    assert counts(world).passed == 2

    target = world.target()
    target.view = replace(target.view, serving_set=None, serving_set_digest=None)
    world.live_on()
    assert release_of(world) == "r1"
    assert world.target().view.serving_set is not None

    changed(world, world.server(), suspend=False).live_on()
    assert release_of(world) == "r2"
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"


def test_the_first_set_of_a_server_that_was_made_suspended_holds_everybody_who_is_there_when_it_is_resumed() -> None:
    world = World().add(make_release("r1"), make_server(suspend=True)).add_target()
    for team in ("alpha", "beta"):
        world.add(make_binding(namespace=team).on_server().build()).live_on()
    assert world.target().view.serving_set is None
    assert world.condition(world.server(), "UpToDate") == "False/Suspended"

    changed(world, world.server(), suspend=False).settle()
    first = world.server().status.candidate
    assert first is not None
    assert first.adapters == 2
    assert world.server().status.current is None


def test_a_suspended_server_with_nothing_to_do_is_up_to_date() -> None:
    world = fleet_of()
    changed(world, world.server(), suspend=True).live_on()
    assert world.condition(world.server(), "UpToDate") == "True/NewestRelease"


def test_a_roll_out_that_began_before_its_server_was_suspended_ends() -> None:
    world = fleet_of()
    world.add(SECOND).settle().run_all().settle().run_all().settle()
    assert world.server().status.candidate is not None
    changed(world, world.server(), suspend=True).settle()
    assert world.condition(world.binding(), "UpToDate") == "False/AwaitingServer"
    world.live_on()
    assert release_of(world) == "r2"


# ---- approval ----


def test_a_manual_binding_waits_for_approval_and_takes_no_part_until_then() -> None:
    world = fleet_of("alpha", "beta", server=False)
    changed(world, world.binding(namespace="beta"), updatePolicy={"mode": "Manual"})
    world.add(SECOND).live_on()

    waiting = world.binding(namespace="beta")
    assert world.condition(waiting, "UpToDate") == "False/AwaitingApproval"
    assert world.condition(waiting, "Ready") == "True/Promoted"
    assert world.condition(waiting, "Stalled") == "-"
    assert counts(world).eligible == 1
    assert world.condition(world.releases["r2"], "Complete") == "True/AllPromoted"

    changed(world, waiting, updatePolicy={"mode": "Manual", "approvedReleaseName": "r2"}).live_on()
    assert world.condition(world.binding(namespace="beta"), "UpToDate") == "True/NewestRelease"
    assert counts(world).eligible == 2


def test_a_manual_binding_moves_to_the_approved_release_although_a_newer_one_is_there() -> None:
    world = fleet_of(server=False, updatePolicy={"mode": "Manual", "approvedReleaseName": "r2"})
    world.add(SECOND, make_release("r3", "r2", minutes=20)).live_on()

    current = world.binding().status.current
    assert current is not None
    assert current.release_name == "r2"
    assert world.condition(world.binding(), "UpToDate") == "False/AwaitingApproval"


def test_an_older_approval_moves_nothing_back() -> None:
    world = fleet_of(server=False)
    world.add(SECOND).live_on()
    changed(world, world.binding(), updatePolicy={"mode": "Manual", "approvedReleaseName": "r1"}).live_on()

    current = world.binding().status.current
    assert current is not None
    assert current.release_name == "r2"
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_an_approval_that_is_taken_back_ends_the_job() -> None:
    world = fleet_of(server=False, updatePolicy={"mode": "Manual", "approvedReleaseName": "r2"})
    world.add(SECOND).settle().run_all().settle()
    assert world.live_jobs()

    changed(world, world.binding(), updatePolicy={"mode": "Manual"}).live_on()

    assert world.live_jobs() == []
    assert world.condition(world.binding(), "UpToDate") == "False/AwaitingApproval"
    assert counts(world).eligible == 0


def test_an_approval_that_goes_to_and_fro_runs_no_step_twice() -> None:
    world = fleet_of(server=False, updatePolicy={"mode": "Manual", "approvedReleaseName": "r2"})
    world.add(SECOND, make_release("r3", "r2", minutes=20)).settle().run_all().settle()
    run(world, world.live_jobs()[0], gate_says(Verdict.FAILED))
    before = list(world.executed)
    for approved in ("r3", "r2"):
        policy = {"mode": "Manual", "approvedReleaseName": approved}
        changed(world, world.binding(), updatePolicy=policy).settle().collect().settle()
    world.settle().collect().settle()

    assert world.condition(world.binding(), "UpToDate") == "False/GateFailed"
    assert world.executed == before


def test_a_member_that_awaits_approval_keeps_its_server_and_is_named() -> None:
    world = fleet_of("alpha", "beta")
    changed(world, world.binding(namespace="beta"), updatePolicy={"mode": "Manual"})
    world.add(SECOND).live_on()

    assert release_of(world) == "r1"
    assert [(one.namespace, one.reason) for one in world.server().status.blockers] == [("beta", "AwaitingApproval")]
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/ServerBlocked"


# ---- promote, onFailure ----


def first_step_passes(world: World) -> World:
    """Let the first step of the one live Job end with a passed gate while the next one runs."""
    (job,) = world.live_jobs()
    run(world, job, lambda job, step: StepEnd(verdict=Verdict.PASSED, adapter="first", accuracy="0.85"))
    (pod,) = job.view.pods
    first, second, *_ = pod.containers
    containers = (first, ContainerView(name=second.name, started_at=world.now))
    running = PodView(name=pod.name, uid=pod.uid, phase="Running", created_at=pod.created_at, containers=containers)
    job.view = replace(job.view, complete=False, finished_at=None, pods=(running,))
    world.reports = {key: report for key, report in world.reports.items() if key[1] in {"delta", first.name}}
    return world.settle()


def last_step_passes(world: World) -> World:
    """Let the last step of the Job pass better than the first."""
    (job,) = world.live_jobs()
    job.view = replace(job.view, pods=())
    for step in job.steps[1:]:
        world.reports.pop((job.request_digest, step), None)
    first = world.reports[job.request_digest, job.steps[0]]
    world.reports[job.request_digest, job.steps[0]] = first.model_copy(update={"verdict": Verdict.FAILED})

    def script(job: SimJob, step: str) -> StepEnd:
        return StepEnd(verdict=Verdict.PASSED if step == job.steps[-1] else Verdict.FAILED, adapter=step)

    run(world, job, script)
    world.reports[job.request_digest, job.steps[0]] = first
    (pod,) = job.view.pods
    containers = (replace(pod.containers[0], notification=first), *pod.containers[1:])
    job.view = replace(job.view, pods=(replace(pod, containers=containers),))
    return world.settle()


@pytest.mark.parametrize("policy", [{}, {"promote": "FirstPassing"}])
def test_the_first_adapter_that_passes_is_promoted_while_the_job_goes_on(policy: dict[str, str]) -> None:
    world = fleet_of(server=False, updatePolicy=policy)
    first_step_passes(world.add(SECOND).settle().run_all().settle())
    assert world.live_jobs()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_the_best_adapter_is_promoted_when_the_last_step_has_ended() -> None:
    world = fleet_of(server=False, updatePolicy={"promote": "Best"})
    first_step_passes(world.add(SECOND).settle().run_all().settle())

    assert world.condition(world.binding(), "Adapted") == "True/GatePassed"
    assert world.condition(world.binding(), "UpToDate") == "False/Running"
    assert (counts(world).running, counts(world).passed) == (1, 0)

    last_step_passes(world)
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"
    candidate, current = world.binding().status.candidate, world.binding().status.current
    assert candidate is not None
    assert current is not None
    assert current.adapter.digest == candidate.steps[-1].adapter_digest


def test_who_waits_for_the_best_is_content_with_what_there_is_when_the_job_is_gone() -> None:
    world = fleet_of(server=False, updatePolicy={"promote": "Best"})
    first_step_passes(world.add(SECOND).settle().run_all().settle())
    world.jobs.clear()
    world.settle()
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


@pytest.mark.parametrize(("policy", "stalled"), [("Keep", "-"), ("Degrade", "True/GateFailed")])
def test_a_failed_upgrade_degrades_a_binding_only_when_its_owner_says_so(policy: str, stalled: str) -> None:
    world = fleet_of(updatePolicy={"onFailure": policy})
    world.add(SECOND).live_on(gate_says(Verdict.FAILED))
    assert world.condition(world.binding(), "Stalled") == stalled
    assert world.condition(world.binding(), "Ready") == "True/Promoted"
    assert world.condition(world.server(), "UpToDate") == "False/AwaitingBindings"


def test_higher_priority_gets_the_first_slot() -> None:
    world = World().add(make_release("r1"))
    for name, priority in (("a", 0), ("b", 5)):
        world.add(make_binding(name, priority=priority).build())
    world.live_on().add(make_release("r2", "r1", minutes=10, rollout={"maxRunningJobs": 1})).settle().run_all().settle()
    (job,) = world.live_jobs()
    assert job.view.owner_uid == world.bindings[Key("AdapterBinding", "team", "b")].metadata.uid

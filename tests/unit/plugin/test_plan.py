"""`kubectl relora plan`: who takes part, what would start, what would move, and what would be refused."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.builders import make_binding, make_namespace, make_profile, make_release, make_server
from fleet.jobs import gate_says
from fleet.jobs import run as run_job
from fleet.world import World
from plugin.big import big_shelf
from plugin.shelf import Shelf
from plugin.stories import DELTA_SECONDS, STEP_SECONDS, apply_r2, ended, fleet, fleet_of, half_way, rolled_back
from relora_contract.api.release import BaseModelRelease
from relora_contract.report import Verdict
from relora_kubectl.cluster import Cluster
from relora_kubectl.looks import look_around
from relora_kubectl.plan import PlanView, plan_view
from relora_kubectl.plan_text import plan_blocks
from relora_kubectl.release_file import InvalidReleaseError
from relora_operator.core.reasons import Reason
from samples.kinds import release
from unit.plugin.conftest import Run


def plan_of(world: World, wanted: BaseModelRelease) -> PlanView:
    return plan_view(wanted, fleet_of(world), world.now)


def r2(**spec: object) -> BaseModelRelease:
    return make_release("r2", "r1", minutes=0, **spec)


def order(view: PlanView) -> list[str]:
    return [job.namespace for job in view.jobs]


def excluded(view: PlanView) -> dict[str, str]:
    return {f"{one.namespace}/{one.name}": one.told.reason for one in view.excluded}


def test_what_was_planned_is_what_the_operator_then_does() -> None:
    world = fleet("alpha", "beta")
    world.namespaces["beta"] = make_namespace("beta", frozen="yes")
    wanted = make_release(
        "r2",
        "r1",
        minutes=10,
        allowedNamespaces={"selector": {"matchExpressions": [{"key": "frozen", "operator": "DoesNotExist"}]}},
    )
    view = plan_of(world, wanted)
    world.add(wanted).live_on()
    counts = world.releases["r2"].status.bindings
    assert counts is not None
    assert (view.eligible, len(view.jobs), view.delta_jobs) == (2, 2, 1)
    assert view.eligible == counts.eligible
    started = [job.view for job in world.jobs.values()]
    assert {job.namespace for job in started if job.kind == "readaptation"} == set(order(view))
    assert sum(job.kind == "delta" for job in started) == view.delta_jobs
    (server,) = view.servers
    assert [(one.namespace, one.reason) for one in server.kept_by] == [("beta", Reason.NOT_ELIGIBLE)]
    assert [(one.namespace, one.reason) for one in world.server().status.blockers] == [("beta", Reason.NOT_ELIGIBLE)]


def test_jobs_start_in_the_order_in_which_the_operator_starts_them() -> None:
    world = fleet("alpha", "beta", "gamma")
    wanted = r2(rollout={"maxRunningJobs": 1})
    view = plan_of(world, wanted)
    world.add(wanted).settle().run_all(kind="delta")
    started: list[str] = []
    while jobs := world.settle().live_jobs():
        (job,) = jobs
        started.append(job.view.namespace)
        run_job(world, job)
        world.wait(seconds=1)
    assert order(view) == started


def test_the_estimate_comes_from_the_times_of_the_steps_and_of_the_delta() -> None:
    world = ended()
    view = plan_of(world, make_release("r3", "r2", rollout={"maxRunningJobs": 2}))
    assert view.estimate is not None
    assert view.estimate.job_seconds == 3 * STEP_SECONDS
    assert view.estimate.seconds == DELTA_SECONDS + 2 * STEP_SECONDS
    assert [job.start_seconds for job in view.jobs] == [120, 120, 720]
    assert view.estimate.basis == "3 re-adaptations of 10 min each"


def test_without_a_basis_there_is_an_order_and_no_estimate() -> None:
    view = plan_of(fleet("alpha"), r2())
    assert view.estimate is not None
    assert (view.estimate.seconds, view.estimate.basis) == (
        None,
        "no estimate yet: no re-adaptation of the model has ended",
    )
    assert [job.start_seconds for job in view.jobs] == [None, None]


def test_a_strategy_without_training_needs_no_delta() -> None:
    world = World().add(make_release("r1"), make_binding(readaptation={"strategy": "PortLLM"}).build()).live_on()
    view = plan_of(world, r2())
    assert (len(view.jobs), view.deltas, view.jobs[0].strategy) == (1, [], "PortLLM")


def test_each_release_from_which_bindings_come_needs_its_delta() -> None:
    view = plan_of(ended("beta"), make_release("r3", "r2"))
    assert [(delta.source_release_name, delta.bindings, delta.stored) for delta in view.deltas] == [
        ("r1", 2, False),
        ("r2", 1, False),
    ]


def test_who_takes_no_part_is_told_why() -> None:
    world = fleet("alpha")
    world.add(make_binding("lost", "alpha", source="r0").build(), make_binding("ahead", "alpha", source="r3").build())
    world.add(make_binding("away", "closing").build())
    world.namespaces["closing"] = make_namespace("closing")
    world.add(make_binding("stranger", "alpha", model="other").build())
    world.add(make_release("r2", "r1"), make_release("r3", "r2", minutes=1))
    world.add(make_profile(allowedNamespaces={"selector": {"matchLabels": {"gpu": "yes"}}}))
    world.namespaces["alpha"] = make_namespace("alpha", gpu="yes")
    view = plan_of(world, make_release("r4", "r3"))
    assert view.bindings == 5
    assert excluded(view) == {
        "alpha/lost": Reason.RELEASE_NOT_FOUND,
        "closing/away": Reason.NOT_ELIGIBLE,
        "lonely/alone": Reason.NOT_ELIGIBLE,
    }
    assert "TrainerProfile default does not admit namespace closing" in view.excluded[1].told.message
    assert view.excluded[1].told.remedy
    again = plan_of(world, world.releases["r2"])
    assert excluded(again)["alpha/classifier"] == Reason.SUPERSEDED


def test_what_its_server_refuses_gets_no_job() -> None:
    world = fleet("alpha")
    there = {"name": "vllm", "namespace": "serving"}
    world.add(make_binding("twin", "alpha", servedName="alpha.classifier", serverRef=there, minutes=5).build())
    world.add(make_binding("homeless", "alpha", serverRef={"name": "absent"}).build())
    world.add(make_server("full", "alpha", maxAdapters=1))
    for name in ("first", "second"):
        world.add(make_binding(name, "alpha", serverRef={"name": "full"}, minutes=len(name)).build())
    view = plan_of(world, r2())
    assert excluded(view) == {
        "alpha/twin": Reason.SERVED_NAME_CONFLICT,
        "alpha/homeless": Reason.SERVER_NOT_FOUND,
        "alpha/second": Reason.SERVER_FULL,
    }
    assert [job.name for job in view.jobs] == ["classifier", "alone", "first"]


def test_who_is_served_keeps_its_seat_before_an_older_binding() -> None:
    world = World().add(make_release("r1"), make_server("tight", maxAdapters=1)).add_target("tight")
    world.add(make_binding("young", minutes=9).on_server("tight").build()).live_on()
    world.add(make_binding("old", minutes=1).on_server("tight").build())
    view = plan_of(world, r2())
    assert excluded(view) == {"team/old": Reason.SERVER_FULL}


def test_a_server_without_its_workload_keeps_its_members_back() -> None:
    world = fleet("alpha")
    world.targets.clear()
    world.settle()
    view = plan_of(world, r2())
    assert excluded(view) == {"alpha/classifier": Reason.TARGET_NOT_FOUND}
    assert not view.servers[0].moves


def test_what_its_owner_holds_back_gets_no_job() -> None:
    world = fleet("alpha", "beta")
    manual = {"mode": "Manual", "approvedReleaseName": "r1"}
    world.add(make_binding(namespace="alpha", suspend=True).on_server().build())
    world.add(make_binding(namespace="beta", updatePolicy=manual).on_server().build())
    approved = {"mode": "Manual", "approvedReleaseName": "r2"}
    world.add(make_binding("alone", "lonely", updatePolicy=approved).build()).live_on()
    view = plan_of(world, r2())
    assert excluded(view) == {"alpha/classifier": Reason.SUSPENDED, "beta/classifier": Reason.AWAITING_APPROVAL}
    assert order(view) == ["lonely"]
    (move,) = view.servers
    assert [one.reason for one in move.kept_by] == [Reason.SUSPENDED, Reason.AWAITING_APPROVAL]


def test_a_suspended_server_does_not_move() -> None:
    world = fleet("alpha")
    world.add(make_server(suspend=True)).live_on()
    (move,) = plan_of(world, r2()).servers
    assert move.stalled is not None
    assert (move.moves, move.stalled.reason) == (False, Reason.SUSPENDED)


def test_a_suspended_release_is_planned_for_the_time_after() -> None:
    view = plan_of(fleet("alpha"), r2(suspend=True))
    assert view.lacking is not None
    assert (view.lacking.reason, view.works, len(view.jobs)) == (Reason.SUSPENDED, True, 2)


def test_a_withdrawal_starts_nothing_and_tells_who_goes_back(run: Run, tmp_path: Path) -> None:
    world = ended()
    path = tmp_path / "r2.yaml"
    spec = {**world.releases["r2"].spec.to_json(), "withdrawn": True}
    document = {
        "apiVersion": "relora.dev/v1alpha1",
        "kind": "BaseModelRelease",
        "metadata": {"name": "r2"},
        "spec": spec,
    }
    path.write_text(yaml.safe_dump(document))
    code, out, err = run(Shelf.of(world), "plan", "-f", str(path))
    assert (code, err) == (0, "")
    assert "and no Job would start: Withdrawn: " in out
    assert "1 of 1 server and 1 of 1 binding without a server leave the release\n" in out
    assert "\nserving/vllm   2         r1\n" in out


def test_a_higher_priority_starts_first_in_its_namespace() -> None:
    world = fleet("alpha")
    world.add(make_binding("urgent", "alpha", priority=10, minutes=9).build()).live_on()
    assert [job.name for job in plan_of(world, r2()).jobs] == ["urgent", "alone", "classifier"]


def test_servers_move_when_nobody_keeps_them() -> None:
    (move,) = plan_of(fleet("alpha", "beta"), r2()).servers
    assert (move.moves, move.members, move.waiting, move.release_name) == (True, 2, 2, "r1")
    (kept,) = plan_of(half_way(), half_way().releases["r2"]).servers
    assert (kept.moves, [one.namespace for one in kept.kept_by]) == (False, ["beta"])


def test_servers_move_without_those_who_may_stay_behind() -> None:
    world = half_way()
    fallback = {"kind": "Deployment", "name": "old"}
    upgrade = {"stragglers": "Split", "fallbackTargetRef": fallback}
    world.add(world.server().model_copy(update={"spec": make_server(upgrade=upgrade).spec}))
    view = plan_of(world, world.releases["r2"])

    assert [(move.moves, [one.namespace for one in move.kept_by]) for move in view.servers] == [(True, ["beta"])]
    assert "when their time is over, without beta/classifier (GateFailed)" in str(plan_blocks(view, 10))


def test_a_roll_out_that_was_taken_back_is_not_tried_again() -> None:
    world = rolled_back()
    (move,) = plan_of(world, world.releases["r2"]).servers
    assert move.stalled is not None
    assert (move.moves, move.stalled.reason) == (False, Reason.ROLLED_BACK)


def test_a_failure_on_the_way_to_an_earlier_release_holds_nobody_back() -> None:
    world = apply_r2(fleet("alpha")).live_on(gate_says(Verdict.FAILED))
    assert len(plan_of(world, make_release("r3", "r2")).jobs) == 2


def test_the_change_of_a_release_counts_what_it_did() -> None:
    world = half_way()
    view = plan_of(world, world.releases["r2"])
    assert (view.exists, view.eligible, view.running, view.settled, len(view.jobs)) == (True, 5, 2, 2, 1)
    assert [(delta.source_release_name, delta.stored) for delta in view.deltas] == [("r1", True)]


def test_what_is_immutable_cannot_be_planned_otherwise() -> None:
    world = half_way()
    with pytest.raises(InvalidReleaseError) as caught:
        plan_of(world, make_release("r2", "r0", version="r2x"))
    assert [problem.field for problem in caught.value.problems] == ["spec.version", "spec.supersedes"]
    assert "create a new BaseModelRelease" in caught.value.problems[0].message


def test_a_withdrawal_cannot_be_taken_back() -> None:
    world = ended().add(make_release("r2", "r1", minutes=10, withdrawn=True))
    with pytest.raises(InvalidReleaseError) as caught:
        plan_of(world, make_release("r2", "r1", minutes=10))
    assert [problem.field for problem in caught.value.problems] == ["spec.withdrawn"]


def test_a_member_that_brought_its_adapter_for_the_release_needs_neither_job_nor_delta() -> None:
    world = ended().add(make_release("r3", "r2", minutes=600))
    world.add(make_binding("late", "beta", source="r3").on_server().build()).settle()
    view = plan_of(world, world.releases["r3"])
    assert ("beta", "late") not in [(job.namespace, job.name) for job in view.jobs]
    assert [delta.source_release_name for delta in view.deltas] == ["r2"]


REFUSED = {
    "forked": (("r3", "r1"), Reason.FORKED_LINEAGE),
    "without its predecessor": (("r3", "r7"), Reason.PREDECESSOR_NOT_FOUND),
    "a second first": (("r3", None), Reason.SECOND_ROOT),
    "a cycle": (("r3", "r3"), Reason.CYCLE_DETECTED),
}


@pytest.mark.parametrize(("names", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_release_off_the_chain_is_refused(names: tuple[str, str | None], reason: Reason) -> None:
    view = plan_of(ended(), make_release(*names))
    assert view.refused is not None
    assert (view.refused.reason, view.works, view.jobs) == (reason, False, [])
    assert view.refused.remedy


def test_a_clock_that_is_behind_lets_no_release_be_older_than_what_exists() -> None:
    world = ended()
    view = plan_view(make_release("aa", "r1"), fleet_of(world), world.now.replace(year=2020))
    assert view.refused is not None
    assert view.refused.reason == Reason.FORKED_LINEAGE


def test_without_its_profile_nothing_starts_and_the_rest_is_planned() -> None:
    view = plan_of(fleet("alpha"), r2(profileRef={"name": "absent"}))
    assert view.lacking is not None
    assert (view.lacking.reason, view.works, view.refused) == (Reason.PROFILE_NOT_FOUND, False, None)
    assert len(view.jobs) == 2


def written(path: Path, **spec: object) -> str:
    document: dict[str, Any] = make_release("r3", "r2").to_json()
    document |= {"apiVersion": "relora.dev/v1alpha1", "kind": "BaseModelRelease", "spec": {**document["spec"], **spec}}
    del document["status"]
    path.write_text(yaml.safe_dump_all([{"kind": "ConfigMap"}, document]))
    return str(path)


def test_as_json_every_job_is_printed(run: Run, tmp_path: Path) -> None:
    world = ended()
    code, out, err = run(Shelf.of(world), "plan", "-f", written(tmp_path / "r3.yaml"), "-o", "json", now=world.now)
    assert (code, err) == (0, "")
    view = json.loads(out)
    assert [job["namespace"] for job in view["jobs"]] == ["alpha", "beta", "lonely"]
    assert view["deltas"] == [{"sourceReleaseName": "r2", "bindings": 3, "stored": False}]


def test_tables_are_cut_and_say_so(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "r3.yaml")
    _, out, _ = run(Shelf.of(ended()), "plan", "-f", path, "--limit", "2")
    assert "… and 1 more: --limit 0 shows all" in out
    assert "lonely/alone" not in out
    assert "lonely/alone" in run(Shelf.of(ended()), "plan", "-f", path, "--limit", "0")[1]


def test_a_plan_that_would_not_work_ends_with_1(run: Run, tmp_path: Path) -> None:
    code, out, err = run(Shelf.of(ended()), "plan", "-f", written(tmp_path / "r3.yaml", supersedes="r1"))
    assert (code, err) == (1, "")
    assert out.startswith("release r3 would be refused: ForkedLineage: ")
    code, out, _ = run(Shelf.of(ended()), "plan", "-f", written(tmp_path / "r3.yaml", profileRef={"name": "no"}))
    assert code == 1
    assert "and no Job would start: ProfileNotFound: " in out


def test_a_plan_writes_nothing(run: Run, tmp_path: Path) -> None:
    shelf = Shelf.of(ended())
    before = dict(shelf.texts)
    run(shelf, "plan", "-f", written(tmp_path / "r3.yaml"))
    assert (shelf.texts, shelf.patches) == (before, [])


def test_every_part_of_a_real_release_file_is_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(release("r3", supersedes="r2", profileRef={"name": "default"})))
    code, out, err = run(Shelf.of(ended()), "plan", "-f", str(path))
    assert (code, err) == (0, "")
    assert "0 of 3 bindings of the model tiny take part" in out


def calls(count: int) -> int:
    """Return how many functions are called to read and plan a fleet."""
    shelf = big_shelf(count)
    seen = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal seen
        seen += event == "call"

    async def work() -> None:
        loaded = await look_around(Cluster(shelf, context="test", namespace="n0000"))
        view = plan_view(make_release("r3", "r2"), loaded, World().now)
        assert len(view.jobs) == count

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        asyncio.run(work())
    finally:
        sys.setprofile(before)
    return seen


def test_the_cost_of_a_binding_does_not_grow_with_the_fleet() -> None:
    small, large = calls(200), calls(800)
    assert large / small < 4 * 1.1

"""`kubectl relora status`: what it counts, what it estimates, and how it ends."""

import json
from dataclasses import replace

import pytest

from fleet.builders import make_binding, make_namespace, make_profile, make_release, timestamp_of
from fleet.jobs import exits
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import DELTA_SECONDS, STEP_SECONDS, apply_r2, below, ended, fleet, half_way
from relora_contract.api.meta import Condition, ConditionStatus
from relora_kubectl.status import StatusView, status_view
from relora_kubectl.status_text import change_lines
from relora_operator.core.observed import ContainerView, PodView
from relora_operator.core.reasons import Reason
from unit.plugin.conftest import Run


def view_of(world: World, name: str | None = None, namespace: str = "") -> StatusView:
    return status_view(
        list(world.releases.values()),
        name=name,
        servers=list(world.servers.values()),
        bindings=list(world.bindings.values()),
        profiles=world.profiles,
        namespace=namespace,
        now=world.now,
    )


def phases(view: StatusView, name: str = "r2") -> dict[str, int]:
    (release,) = [one for one in view.releases if one.name == name]
    return {phase.name: phase.count for phase in release.phases}


def test_every_phase_is_counted_and_the_superseded_release_left_out() -> None:
    view = view_of(half_way())
    assert [release.name for release in view.releases] == ["r2"]
    assert phases(view) == {
        "pending": 0,
        "queued": 1,
        "running": 2,
        "passed": 1,
        "promoted": 0,
        "failed": 1,
        "skipped": 0,
    }
    assert [release.name for release in view_of(half_way(), "r1").releases] == ["r1"]


def test_blockers_and_failures_come_with_what_to_do() -> None:
    view = view_of(half_way())
    (server,) = view.servers
    assert (server.namespace, server.name, server.release_name) == ("serving", "vllm", "r1")
    assert server.status.reason == Reason.AWAITING_BINDINGS
    assert ("beta", Reason.GATE_FAILED) in [(one.namespace, one.reason) for one in server.blockers]
    failures = {one.namespace: one.reason for one in view.releases[0].failures}
    assert failures == {"alpha": Reason.SERVER_BLOCKED, "beta": Reason.GATE_FAILED}


def test_the_estimate_is_what_is_left_shared_by_the_slots() -> None:
    world = half_way()
    before = view_of(world).releases[0].estimate
    # Ended are one of a single step and one of four; their mean is 25 minutes. Three are left, for two slots.
    mean = (STEP_SECONDS + 4 * STEP_SECONDS) / 2
    assert before is not None
    assert before.seconds == 3 * mean / 2
    assert "2 re-adaptations of 25 min each, 2 at a time" in before.basis


def test_the_limit_of_a_namespace_bounds_the_slots() -> None:
    world = apply_r2(fleet(), rollout={"maxRunningJobs": 4, "maxRunningJobsPerNamespace": 1})
    world.add(*(make_binding(f"b{index}", "lonely").build() for index in range(4)))
    world.settle().run_all(below()).settle()
    estimate = view_of(world).releases[0].estimate
    assert estimate is not None
    assert estimate.basis == "1 re-adaptation of 10 min each, 1 at a time"
    assert estimate.seconds == 4 * STEP_SECONDS


def test_a_suspended_release_has_no_estimate() -> None:
    world = half_way()
    r2 = world.releases["r2"]
    world.put(r2.model_copy(update={"spec": r2.spec.model_copy(update={"suspend": True})}))
    estimate = view_of(world.settle()).releases[0].estimate
    assert estimate is not None
    assert estimate.basis == "no estimate: the release is suspended"


def test_a_halted_release_has_no_estimate() -> None:
    world = half_way()
    halted = Condition(
        type="Halted", status=ConditionStatus.TRUE, reason="CanaryFailed", last_transition_time=timestamp_of(0)
    )
    r2 = world.releases["r2"]
    conditions = [*(one for one in r2.status.conditions if one.type != "Halted"), halted]
    world.releases["r2"] = r2.model_copy(update={"status": r2.status.model_copy(update={"conditions": conditions})})
    estimate = view_of(world).releases[0].estimate
    assert estimate is not None
    assert (estimate.seconds, estimate.basis) == (None, "no estimate: the release is halted")


def test_what_one_namespace_tells_is_no_estimate_of_the_whole() -> None:
    estimate = view_of(half_way(), namespace="alpha").releases[0].estimate
    assert estimate is not None
    assert (estimate.seconds, estimate.basis) == (None, "no estimate: only the bindings of namespace alpha were read")


def test_a_delta_that_takes_longer_than_usual_is_expected_now_and_one_that_waits_in_full() -> None:
    world = next_release_of_the_lonely(ended()).wait(seconds=100 * DELTA_SECONDS)
    estimate = view_of(world, "r3").releases[0].estimate
    assert estimate is not None
    assert estimate.seconds == STEP_SECONDS

    world.run_all(exits(75, at_step="delta"), kind="delta").settle().wait(seconds=1)
    estimate = view_of(world, "r3").releases[0].estimate
    assert estimate is not None
    assert estimate.seconds == DELTA_SECONDS + STEP_SECONDS


def test_a_queue_sets_the_pace_where_the_profile_names_one() -> None:
    world = half_way()
    world.add(make_profile(scheduling={"localQueueName": "gpus"}))
    r2 = world.releases["r2"]
    world.releases["r2"] = r2.model_copy(update={"spec": r2.spec.model_copy(update={"rollout": None})})
    estimate = view_of(world).releases[0].estimate
    assert estimate is not None
    assert "3 at a time" in estimate.basis


def test_before_the_first_end_there_is_no_estimate() -> None:
    estimate = view_of(apply_r2(fleet("alpha"))).releases[0].estimate
    assert estimate is not None
    assert estimate.seconds is None
    assert estimate.basis == "no estimate yet: no re-adaptation has ended"


def next_release_of_the_lonely(world: World) -> World:
    """Apply a third release for one namespace: the others keep the record of how long the second took."""
    world.namespaces["lonely"] = make_namespace("lonely", ring="first")
    admitted = {"selector": {"matchLabels": {"ring": "first"}}}
    return world.add(make_release("r3", "r2", minutes=100, allowedNamespaces=admitted)).settle()


def test_before_the_first_end_earlier_releases_tell_how_long_it_takes() -> None:
    estimate = view_of(next_release_of_the_lonely(ended()), "r3").releases[0].estimate
    assert estimate is not None
    assert estimate.seconds == DELTA_SECONDS + STEP_SECONDS
    assert estimate.basis == "3 re-adaptations to earlier releases of 10 min each, 1 at a time"


def test_what_a_release_took_is_known_when_the_next_one_has_replaced_every_candidate() -> None:
    world = ended("beta")
    third = make_release("r3", "r2", minutes=600)
    world.add(third).settle().wait(seconds=DELTA_SECONDS).run_all(kind="delta").settle()
    candidates = [binding.status.candidate for binding in world.bindings.values()]
    assert {one.release_name for one in candidates if one is not None} == {"r3"}
    alone = world.binding("alone", "lonely").status.current
    assert alone is not None
    assert alone.readaptation_seconds == STEP_SECONDS

    (release,) = view_of(world, "r3").releases
    assert release.estimate is not None
    assert release.estimate.basis == "1 re-adaptation to earlier releases of 10 min each, 3 at a time"


def test_without_a_delta_that_ended_there_is_no_estimate() -> None:
    world = next_release_of_the_lonely(ended())
    r2 = world.releases["r2"]
    deltas = [delta.model_copy(update={"end_time": None}) for delta in r2.status.deltas]
    world.put(r2.model_copy(update={"status": r2.status.model_copy(update={"deltas": deltas})}))
    estimate = view_of(world, "r3").releases[0].estimate
    assert estimate is not None
    assert estimate.basis == "no estimate yet: no delta of the model has ended"


def test_nothing_is_estimated_when_no_job_is_to_come() -> None:
    assert view_of(ended()).releases[0].estimate is None


@pytest.mark.parametrize(
    ("world", "is_ended", "failed"),
    [(half_way(), False, False), (ended("beta"), True, True), (ended(), True, False)],
    ids=["under way", "with failures", "all promoted"],
)
def test_when_a_watch_ends(world: World, *, is_ended: bool, failed: bool) -> None:
    view = view_of(world)
    assert (view.ended, view.failed) == (is_ended, failed)


def test_a_release_that_is_refused_ends_a_watch() -> None:
    world = ended()
    world.add(make_release("fork", "r1", minutes=50)).settle()
    view = view_of(world, "fork")
    assert (view.ended, view.failed) == (True, True)
    assert view.releases[0].status.reason == Reason.FORKED_LINEAGE
    assert view.releases[0].status.remedy


def test_a_release_without_its_profile_is_waited_for() -> None:
    world = fleet("alpha")
    world.add(make_release("r2", "r1", minutes=10, profileRef={"name": "absent"})).settle()
    view = view_of(world, "r2")
    assert not view.ended
    assert view.releases[0].stalled is not None
    assert view.releases[0].stalled.reason == Reason.PROFILE_NOT_FOUND


def test_what_the_operator_has_not_seen_is_not_taken_for_the_truth() -> None:
    world = ended()
    world.add(make_release("r3", "r2", minutes=100))
    release = view_of(world).releases[-1]
    assert (release.name, release.status.reason, release.eligible, release.complete) == ("r3", "NotSeen", None, False)


def test_what_was_complete_is_not_after_a_change_that_the_operator_has_not_seen() -> None:
    world = ended()
    r2 = world.releases["r2"]
    world.put(r2.model_copy(update={"spec": r2.spec.model_copy(update={"suspend": True})}))
    release = view_of(world).releases[-1]
    assert (release.name, release.status.reason, release.complete, release.phases) == ("r2", "NotSeen", False, [])


def test_as_json_the_whole_view_is_printed(run: Run) -> None:
    code, out, err = run(Shelf.of(half_way()), "status", "r2", "-o", "json")
    assert (code, err) == (0, "")
    (release,) = json.loads(out)["releases"]
    assert release["phases"][2] == {"name": "running", "count": 2}
    assert release["deltas"] == [{"sourceReleaseName": "r1", "state": "Stored", "message": ""}]
    assert json.loads(out)["servers"][0]["status"]["remedy"]


def test_each_release_is_one_line_of_a_pipe(run: Run) -> None:
    code, out, _ = run(Shelf.of(half_way()), "status")
    header, row = out.splitlines()[:2]
    assert code == 0
    assert dict(zip(header.split(), row.split(), strict=False))["RUNNING"] == "2"
    assert "\x1b" not in out


def test_the_namespace_narrows_the_servers_only(run: Run) -> None:
    code, out, _ = run(Shelf.of(half_way()), "status", "-n", "elsewhere", "-o", "json")
    assert code == 0
    assert json.loads(out)["servers"] == []
    assert json.loads(out)["releases"][0]["eligible"] == 5


def test_an_unknown_release_is_an_error(run: Run) -> None:
    code, out, err = run(Shelf.of(ended()), "status", "r9")
    assert (code, out) == (1, "")
    assert err == "error: BaseModelRelease r9 does not exist\n"


def test_bindings_are_listed_only_while_an_estimate_needs_them(run: Run) -> None:
    idle, busy = Shelf.of(ended()), Shelf.of(half_way())
    run(idle, "status")
    run(busy, "status")
    assert (idle.lists, busy.lists) == (2, 4)


def test_a_change_is_told_in_one_line() -> None:
    world = half_way()
    before = change_lines(view_of(world))
    world.wait(seconds=STEP_SECONDS).live_on(below("beta"))
    after = change_lines(view_of(world))
    assert set(after) == {"release r2", "server serving/vllm"}
    assert after["release r2"] != before["release r2"]
    assert after["release r2"].startswith("CompletedWithFailures; 0 pending")


def test_what_a_running_job_has_done_is_not_counted_again() -> None:
    world = half_way()
    before = view_of(world).releases[0].estimate
    for job in world.live_jobs():
        port = ContainerView(name="port", started_at=world.now)
        pod = PodView(
            name=job.view.name, uid="pod", phase="Running", created_at=world.now, scheduled=True, containers=(port,)
        )
        job.view = replace(job.view, pods=(pod,))
    world.wait(seconds=STEP_SECONDS).settle()
    after = view_of(world).releases[0].estimate
    assert before is not None
    assert after is not None
    assert before.seconds is not None
    assert after.seconds == before.seconds - STEP_SECONDS

"""Roll-outs of serving sets played in memory: to their end, back, and again."""

from dataclasses import replace

import pytest

from fleet.builders import digest, make_binding, make_release, make_server
from fleet.stories import fleet_of, served
from fleet.world import CrashedError, World
from relora_contract.api.binding import ServerRef
from relora_operator.core.actions import Key


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


def test_a_set_that_cannot_be_put_back_for_a_while_was_removed_by_nobody() -> None:
    world = fleet_of("team")
    before = served(world)
    world.targets.clear()
    world.settle().add_target()
    world.denies_sets = True
    for _ in range(5):
        world.settle().wait(seconds=10)
    assert world.target().view.serving_set is None
    assert len(world.server().status.reverts) == 1
    assert world.condition(world.server(), "Stalled") == "-"

    world.denies_sets = False
    world.live_on()

    assert served(world) == before
    assert world.condition(world.server(), "Ready") == "True/Promoted"


def test_a_target_that_no_watch_shows_is_looked_at_again_after_a_minute() -> None:
    world = fleet_of("team")
    server = Key("AdapterServer", "serving", "vllm")
    assert world.reconcile(server).requeue_after_seconds is None
    world.target().view = replace(world.target().view, consent=None)
    assert world.settle().condition(world.server(), "Ready") == "False/ConsentMissing"
    assert world.reconcile(server).requeue_after_seconds == 60
    world.targets.clear()
    assert world.settle().condition(world.server(), "Ready") == "False/TargetNotFound"
    assert world.reconcile(server).requeue_after_seconds == 60


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

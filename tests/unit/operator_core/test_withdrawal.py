"""Releases that are taken back, and the order of releases: what was promoted before comes back, and nothing else."""

from dataclasses import replace

import pytest

from fleet.builders import digest, make_binding, make_release
from fleet.jobs import gate_says, run
from fleet.stories import fleet_of
from fleet.world import World
from relora_contract.report import Verdict
from relora_operator.core.actions import Key

SECOND = make_release("r2", "r1", minutes=10)
THIRD = make_release("r3", "r2", minutes=20)


def withdraw(world: World, name: str = "r2") -> World:
    release = world.releases[name]
    return world.add(release.model_copy(update={"spec": release.spec.model_copy(update={"withdrawn": True})}))


def pairs(world: World) -> dict[str, tuple[str, str]]:
    """Return release and digest of what each binding has in use."""
    return {
        f"{key.namespace}.{key.name}": (binding.status.current.release_name, binding.status.current.adapter.digest)
        for key, binding in world.bindings.items()
        if binding.status.current is not None
    }


def served(world: World) -> dict[str, tuple[str, str]]:
    serving = world.target().serving
    assert serving is not None
    return {adapter.name: (serving.release, adapter.digest) for adapter in serving.adapters}


@pytest.mark.parametrize("server", [True, False])
def test_a_withdrawn_release_is_left_for_the_pairs_that_were_promoted_before(server: bool) -> None:  # noqa: FBT001 - a case
    world = fleet_of("alpha", "beta", server=server)
    before = pairs(world)
    world.add(SECOND).live_on()
    assert {release for release, _ in pairs(world).values()} == {"r2"}
    assert [pair.release_name for pair in world.binding(namespace="alpha").status.history] == ["r1"]

    withdraw(world).live_on()

    assert pairs(world) == before
    assert not server or served(world) == before
    for binding in world.bindings.values():
        assert world.condition(binding, "Ready") == "True/Promoted"
        assert world.condition(binding, "UpToDate") == "True/NewestRelease"
        assert binding.status.history == []
    assert world.condition(world.releases["r2"], "Complete") == "True/Withdrawn"
    assert world.condition(world.releases["r2"], "Ready") == "True/Withdrawn"
    assert world.condition(world.releases["r1"], "Complete") == "True/AllPromoted"


def test_what_comes_back_is_what_was_promoted_for_the_release_and_not_a_pin_that_never_was() -> None:
    world = fleet_of("team")
    world.add(SECOND).live_on()
    promoted = pairs(world)["team.classifier"]
    world.add(THIRD).live_on()
    pinned = {"releaseName": "r2", "uri": "s3://adapters/other", "digest": digest("other")}
    binding = world.binding()
    spec = binding.spec.model_dump(by_alias=True, exclude_none=True)
    world.add(binding.model_copy(update={"spec": type(binding.spec).model_validate({**spec, "source": pinned})}))

    withdraw(world, "r3").settle().roll_out().settle()
    assert served(world)["team.classifier"] == promoted

    world.live_on()  # then the pin replaces it, as any newer pin of the same release does
    assert served(world)["team.classifier"] == ("r2", digest("other"))


def test_two_releases_withdrawn_in_any_order_lead_back_to_the_first() -> None:
    for names in (("r3", "r2"), ("r2", "r3")):
        world = fleet_of("alpha", "beta")
        before = pairs(world)
        world.add(SECOND).live_on().add(THIRD).live_on()
        for name in names:
            withdraw(world, name).live_on()
        assert pairs(world) == before
        assert served(world) == before


def test_a_withdrawal_ends_the_jobs_of_the_release_and_of_its_delta() -> None:
    world = fleet_of("team", server=False)
    withdraw(world.add(SECOND).settle()).settle().collect().settle()
    assert world.jobs == {}
    assert world.releases["r2"].status.deltas == []

    world = fleet_of("team", server=False)
    withdraw(world.add(SECOND).settle().run_all().settle()).settle().collect().settle()
    assert world.live_jobs() == []
    assert world.binding().status.candidate is None
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_a_roll_out_under_way_is_taken_back_at_once() -> None:
    world = fleet_of("team")
    before = served(world)
    world.add(SECOND).settle().run_all().settle().run_all().settle()
    world.stick()

    withdraw(world).settle()
    assert '"release":"r1"' in str(world.target().view.serving_set)
    assert world.condition(world.server(), "UpToDate") == "False/RollingBack"
    assert "is withdrawn" in str(world.server().status.candidate)

    world.live_on()
    assert served(world) == before
    assert world.condition(world.server(), "UpToDate") == "True/NewestRelease"


def test_a_return_that_does_not_get_ready_keeps_what_serves_until_a_retry_is_asked_for() -> None:
    world = fleet_of("team")
    world.add(SECOND).live_on()
    second = served(world)
    withdraw(world).settle()
    world.stick(failing="crash").settle().wait(seconds=1801).settle().live_on()

    assert served(world) == second
    assert world.condition(world.server(), "UpToDate") == "False/RolledBack"
    assert world.condition(world.binding(), "UpToDate") == "False/RolledBack"
    assert world.condition(world.binding(), "Ready") == "True/Promoted"
    assert world.condition(world.releases["r2"], "Complete") == "False/Returning"

    world.annotate(world.server(), retryRequestedAt="now").live_on()
    assert served(world)["team.classifier"][0] == "r1"


def test_nobody_is_dropped_for_a_return_and_who_has_no_earlier_pair_is_named() -> None:
    world = fleet_of("alpha")
    world.add(SECOND).live_on().add(make_binding("late", "beta", source="r2").on_server().build()).live_on()
    assert set(served(world)) == {"alpha.classifier", "beta.late"}

    withdraw(world).live_on()

    assert {release for release, _ in served(world).values()} == {"r2"}
    assert world.condition(world.server(), "UpToDate") == "False/ReleaseWithdrawn"
    assert world.condition(world.server(), "Ready") == "True/Promoted"
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/ReleaseWithdrawn"
    assert world.condition(world.binding("late", "beta"), "UpToDate") == "False/ReleaseWithdrawn"

    world.delete_binding("late", "beta")
    world.live_on()
    assert set(served(world)) == {"alpha.classifier"}
    assert served(world)["alpha.classifier"][0] == "r1"


def test_nobody_joins_a_server_on_a_withdrawn_release() -> None:
    world = fleet_of("alpha")
    world.add(SECOND).live_on()
    withdraw(world)
    changed = world.server().model_copy(update={"spec": world.server().spec.model_copy(update={"suspend": True})})
    world.add(changed, make_binding("late", "beta", source="r2").on_server().build()).live_on()
    assert set(served(world)) == {"alpha.classifier"}
    assert world.condition(world.server(), "UpToDate") == "False/Suspended"


def test_after_a_withdrawal_the_next_release_starts_from_the_pair_before_it() -> None:
    world = fleet_of("alpha", "beta")
    world.add(SECOND).live_on()
    withdraw(world).live_on()
    world.add(THIRD).live_on()

    assert {release for release, _ in served(world).values()} == {"r3"}
    (delta,) = world.releases["r3"].status.deltas
    assert delta.source_release_name == "r1"
    assert [pair.release_name for pair in world.binding(namespace="alpha").status.history] == ["r1"]


def test_withdrawn_while_a_newer_one_is_on_its_way_the_server_goes_back_and_then_on() -> None:
    world = fleet_of("alpha", "beta")
    world.add(SECOND).live_on().add(THIRD).settle()
    withdraw(world).settle().roll_out().settle()
    assert {release for release, _ in served(world).values()} == {"r1"}
    world.live_on()
    assert {release for release, _ in served(world).values()} == {"r3"}


def test_a_return_works_although_the_earlier_release_was_deleted() -> None:
    world = fleet_of("alpha", "beta")
    before = served(world)
    world.add(SECOND).live_on()
    del world.releases["r1"]
    world.settle()

    withdraw(world).live_on()
    assert served(world) == before


def test_a_return_survives_a_target_that_is_created_anew_in_its_midst() -> None:
    world = fleet_of("team")
    before = served(world)
    world.add(SECOND).live_on()
    withdraw(world).settle()
    world.targets.clear()
    world.settle().add_target().live_on()
    assert served(world) == before


@pytest.mark.parametrize("point", range(14))
def test_killed_after_any_write_of_a_return_the_result_is_the_same(point: int) -> None:
    world = fleet_of("alpha", "beta")
    before = served(world)
    world.add(SECOND).live_on()
    world.crash_after = point
    withdraw(world).live_on()
    assert served(world) == before
    assert world.condition(world.releases["r2"], "Complete") == "True/Withdrawn"


def test_the_history_holds_the_last_pair_of_as_many_releases_as_the_owner_wants() -> None:
    world = fleet_of("team", server=False, revisionHistoryLimit=2)
    releases = [SECOND, THIRD, make_release("r4", "r3", minutes=30), make_release("r5", "r4", minutes=40)]
    for release in releases:
        world.add(release).live_on()
    assert [pair.release_name for pair in world.binding().status.history] == ["r4", "r3"]


# ---- order of releases ----


def test_a_release_that_has_the_weights_of_the_first_again_is_a_release_like_any_other() -> None:
    world = fleet_of("alpha", "beta")
    first = world.releases["r1"].spec.weights
    world.add(SECOND).live_on()
    world.add(make_release("r3", "r2", minutes=20, weights=first.model_dump(by_alias=True))).live_on()

    assert {release for release, _ in served(world).values()} == {"r3"}
    assert all(world.condition(binding, "UpToDate") == "True/NewestRelease" for binding in world.bindings.values())
    serving = world.target().serving
    assert serving is not None
    assert serving.base.digest == first.digest


def test_three_releases_in_one_second_lead_straight_to_the_newest() -> None:
    world = fleet_of("alpha", "beta")
    world.add(*(make_release(f"r{index}", f"r{index - 1}", minutes=10) for index in (4, 2, 3))).live_on()

    assert {release for release, _ in served(world).values()} == {"r4"}
    assert [step for _, step in world.executed].count("delta") == 1
    assert world.condition(world.releases["r2"], "Complete") == "True/Superseded"
    assert world.condition(world.releases["r3"], "Complete") == "True/Superseded"


def test_a_newer_release_that_is_withdrawn_gives_the_older_one_back_what_it_had_done() -> None:
    world = fleet_of("team", server=False)
    world.add(SECOND).settle().run_all().settle()
    run(world, world.live_jobs()[0], gate_says(Verdict.FAILED))
    world.settle().add(THIRD).settle().run_all(kind="delta").settle()
    before = [step for step in world.executed if step[1] != "delta"]

    withdraw(world, "r3").settle().collect().settle().run_all().settle()

    assert world.condition(world.binding(), "UpToDate") == "False/GateFailed"
    assert [step for step in world.executed if step[1] != "delta"] == before


def test_a_suspended_server_stays_on_a_withdrawn_release_until_its_owner_lets_go() -> None:
    world = fleet_of("team")
    world.add(SECOND).live_on()
    server = world.server()
    world.add(server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": True})}))
    withdraw(world).live_on()
    assert served(world)["team.classifier"][0] == "r2"
    assert world.condition(world.server(), "UpToDate") == "False/Suspended"
    assert world.condition(world.binding(), "UpToDate") == "False/Suspended"

    world.add(world.server().model_copy(update={"spec": server.spec})).live_on()
    assert served(world)["team.classifier"][0] == "r1"


def test_deleting_a_release_changes_no_serving() -> None:
    world = fleet_of("team")
    world.add(SECOND).live_on()
    before = served(world)
    del world.releases["r2"]
    target = world.target()
    target.view = replace(target.view, serving_set=None, serving_set_digest=None)
    world.reconcile(Key("AdapterServer", "serving", "vllm"))
    world.live_on()
    assert served(world) == before

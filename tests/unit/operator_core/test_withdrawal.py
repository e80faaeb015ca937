"""Releases that are taken back, and the order of releases: what was promoted before comes back, and nothing else."""

from dataclasses import replace
from itertools import permutations

import pytest

from fleet.builders import BindingBuilder, digest, make_binding, make_release
from fleet.jobs import gate_says, run
from fleet.stories import fleet_of
from fleet.world import World
from relora_contract.report import Verdict
from relora_contract.serving import ServingSet
from relora_operator.core.actions import ApplyServingSet, Key

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
    suspended(world).add(make_binding("late", "beta", source="r2").on_server().build()).live_on()
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


def suspended(world: World, *, suspend: bool = True) -> World:
    server = world.server()
    return world.add(server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": suspend})}))


def all_passed_for_r3() -> World:
    """A server on r2 of which all members have passed for r3, which it has not seen."""
    world = suspended(fleet_of("alpha", "beta").add(SECOND).live_on())
    return suspended(world.add(THIRD).live_on(), suspend=False)


def candidates(world: World) -> dict[str, str]:
    """Return the digest of the adapter that each binding's candidate made."""
    adapters = {key.namespace: binding.status.candidate for key, binding in world.bindings.items()}
    return {name: one.adapter.digest for name, one in adapters.items() if one is not None and one.adapter is not None}


def written_releases(world: World) -> list[str]:
    """Return the releases of the sets that were written to the target."""
    sets = (ServingSet.model_validate_json(one.serving_set) for one in world.writes if isinstance(one, ApplyServingSet))
    return [one.release for one in sets]


@pytest.mark.parametrize("order", [*permutations(("AdapterBinding", "AdapterServer", "BaseModelRelease"))], ids=str)
def test_withdrawn_when_all_have_passed_for_a_newer_one_the_server_goes_on_whatever_comes_first(
    order: tuple[str, ...],
) -> None:
    world = all_passed_for_r3()
    passed = candidates(world)
    assert len(passed) == 2
    world.writes.clear()

    withdraw(world)
    for kind in order:
        for key in sorted(world.keys()):
            if key.kind == kind:
                world.reconcile(key)
    world.live_on()

    assert written_releases(world) == ["r3"]
    assert served(world) == {f"{name}.classifier": ("r3", adapter) for name, adapter in passed.items()}
    assert world.condition(world.releases["r2"], "Complete") == "True/Withdrawn"


def test_withdrawn_while_a_member_has_not_passed_for_a_newer_one_the_others_keep_what_passed() -> None:
    world = fleet_of("alpha", "beta").add(SECOND).live_on()
    world.add(THIRD).settle().run_all(kind="delta").settle()
    run(world, next(job for job in world.live_jobs() if job.view.namespace == "alpha"))
    passed = candidates(world.settle())
    assert list(passed) == ["alpha"]

    withdraw(world).settle()
    assert written_releases(world)[-1] == "r1"
    world.live_on()

    assert served(world)["alpha.classifier"] == ("r3", passed["alpha"])
    assert served(world)["beta.classifier"][0] == "r3"
    sources = {key.namespace: binding.status.candidate for key, binding in world.bindings.items()}
    assert {name: one.source.release_name for name, one in sources.items() if one is not None and one.source} == {
        "alpha": "r2",
        "beta": "r1",
    }


def test_what_passed_for_a_newer_release_waits_on_the_earlier_one_while_that_is_held_back() -> None:
    world = fleet_of("team").add(SECOND).live_on()
    suspended(world).add(THIRD).live_on()
    passed = candidates(world)
    third = world.releases["r3"]
    nobody = {"canary": {"selector": {"matchLabels": {"canary": "yes"}}}}
    spec = third.spec.model_dump(by_alias=True, exclude_none=True) | {"rollout": nobody}
    world.add(third.model_copy(update={"spec": type(third.spec).model_validate(spec)})).settle()

    withdraw(suspended(world, suspend=False)).live_on()
    assert served(world)["team.classifier"][0] == "r1"
    assert candidates(world) == passed
    assert world.condition(world.binding(), "UpToDate") == "False/ReleaseHalted"

    world.add(world.releases["r3"].model_copy(update={"spec": third.spec})).live_on()
    assert served(world) == {"team.classifier": ("r3", passed["team"])}


def test_an_adapter_that_the_owner_pins_after_a_return_takes_the_place_of_what_passed_before() -> None:
    world = fleet_of("team", "other").add(SECOND).live_on().add(THIRD).settle().run_all(kind="delta").settle()
    run(world, next(job for job in world.live_jobs() if job.view.namespace == "team"))
    withdraw(world.settle()).settle().roll_out().settle()
    assert served(world)["team.classifier"][0] == "r1"
    kept = candidates(world)["team"]
    pinned = {"releaseName": "r1", "uri": "s3://adapters/other", "digest": digest("other")}
    world.add(BindingBuilder(world.binding()).with_spec(source=pinned).build()).live_on()

    assert served(world)["team.classifier"][0] == "r3"
    assert served(world)["team.classifier"][1] != kept
    candidate = world.binding().status.candidate
    assert candidate is not None
    assert candidate.source is not None
    assert candidate.source.adapter_digest == digest("other")


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
    withdraw(suspended(world)).live_on()
    assert served(world)["team.classifier"][0] == "r2"
    assert world.condition(world.server(), "UpToDate") == "False/Suspended"
    assert world.condition(world.binding(), "UpToDate") == "False/Suspended"

    suspended(world, suspend=False).live_on()
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

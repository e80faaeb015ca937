"""Servers that move without the members that did not pass in time, played in memory."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.jobs import all_pass
from fleet.stories import (
    DEADLINE_SECONDS,
    after_the_deadline,
    fails_in,
    fleet_of,
    served,
    split,
    split_fleet,
    straggling,
)
from fleet.world import World
from relora_contract.api.server import FallbackSet
from relora_operator.core.actions import Key


def beside(world: World) -> FallbackSet:
    fallback = world.server().status.fallback
    assert fallback is not None
    return fallback


def releases_of(served_sets: dict[str, str]) -> dict[str, str]:
    return {name: value.partition(" ")[0] for name, value in served_sets.items()}


def tried_anew(world: World, namespace: str = "beta") -> World:
    """The owner of a binding asks for another re-adaptation."""
    binding = world.binding(namespace=namespace)
    spec = make_binding(namespace=namespace, readaptation={"seed": 1}).on_server().build().spec
    metadata = binding.metadata.model_copy(update={"generation": 2})
    return world.add(binding.model_copy(update={"spec": spec, "metadata": metadata}))


def test_the_main_target_moves_only_when_the_fallback_serves_those_who_stay() -> None:
    world = straggling()
    before = served(world)
    assert world.condition(world.server(), "UpToDate") == "False/AwaitingBindings"
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/AwaitingServer"
    assert world.target("old").view.serving_set is None
    server = Key("AdapterServer", "serving", "vllm")
    assert world.reconcile(server).requeue_after_seconds == pytest.approx(DEADLINE_SECONDS, abs=60)

    after_the_deadline(world)
    assert '"release":"r1"' in str(world.target("old").view.serving_set)
    assert world.condition(world.server(), "UpToDate") == "False/RollingOut"
    assert (beside(world).served_names, served(world)) == ([], before)
    assert '"release":"r1"' in str(world.target().view.serving_set)

    world.roll_out("old").settle()
    assert served(world, "old") == {"beta.classifier": before["beta.classifier"]}
    assert '"release":"r2"' in str(world.target().view.serving_set)
    assert beside(world).served_names == ["beta.classifier"]
    assert world.condition(world.binding(namespace="beta"), "Ready") == "True/Promoted"

    world.roll_out().settle()
    assert releases_of(served(world)) == {"alpha.classifier": "r2"}
    assert world.condition(world.server(), "Ready") == "True/Promoted"
    assert world.condition(world.server(), "UpToDate") == "False/Split"
    assert world.condition(world.server(), "Stalled") == "-"
    assert [(one.namespace, one.reason) for one in world.server().status.blockers] == [("beta", "GateFailed")]
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "True/NewestRelease"
    straggler = world.binding(namespace="beta")
    assert world.condition(straggler, "Ready") == "True/Promoted"
    assert world.condition(straggler, "UpToDate") == "False/GateFailed"
    assert world.condition(world.releases["r2"], "Complete") == "True/CompletedWithFailures"


def test_stragglers_that_block_are_named_when_the_deadline_is_over() -> None:
    world = fleet_of("alpha", "beta")
    world.add(world.server().model_copy(update={"spec": make_server(upgrade={"deadlineSeconds": 3600}).spec}))
    world.add(make_release("r2", "r1", minutes=10)).live_on(fails_in("beta"))
    assert world.condition(world.server(), "UpToDate") == "False/AwaitingBindings"

    after_the_deadline(world)

    assert world.condition(world.server(), "UpToDate") == "False/UpgradeOverdue"
    assert world.condition(world.server(), "Stalled") == "-"
    assert "beta/classifier (GateFailed)" in world.server().status.conditions[1].message
    assert releases_of(served(world)) == {"alpha.classifier": "r1", "beta.classifier": "r1"}
    assert [event.type for event in world.events if event.reason == "UpgradeOverdue"] == ["Warning"]


def test_a_straggler_that_passes_later_goes_back_to_the_main_target_and_the_fallback_is_asked_no_more() -> None:
    world = tried_anew(split()).settle().collect().run_all(all_pass).settle()
    assert '"beta.classifier"' in str(world.target().view.serving_set)
    assert beside(world).served_names == ["beta.classifier"]
    assert world.condition(world.binding(namespace="beta"), "Ready") == "True/Promoted"

    world.roll_out().settle()

    assert releases_of(served(world)) == {"alpha.classifier": "r2", "beta.classifier": "r2"}
    assert world.server().status.fallback is None
    assert world.condition(world.server(), "UpToDate") == "True/NewestRelease"
    assert world.condition(world.binding(namespace="beta"), "UpToDate") == "True/NewestRelease"
    # Whom its clients still ask answers until its owner scales it down.
    assert releases_of(served(world, "old")) == {"beta.classifier": "r1"}


def test_of_two_stragglers_one_goes_back_and_leaves_the_fallback_to_the_other() -> None:
    world = tried_anew(split("alpha", "beta", "gamma", of=("beta", "gamma"))).live_on(fails_in("gamma"))

    assert releases_of(served(world)) == {"alpha.classifier": "r2", "beta.classifier": "r2"}
    assert releases_of(served(world, "old")) == {"gamma.classifier": "r1"}
    assert beside(world).served_names == ["gamma.classifier"]
    assert world.condition(world.server(), "UpToDate") == "False/Split"


def test_whoever_passes_before_the_cut_over_moves_with_the_others() -> None:
    world = tried_anew(after_the_deadline(straggling())).settle().collect().run_all(all_pass).settle()

    assert '"beta.classifier"' in str(world.target().view.serving_set)
    assert world.live_on().server().status.fallback is None
    assert releases_of(served(world)) == {"alpha.classifier": "r2", "beta.classifier": "r2"}


def test_a_fallback_that_never_gets_ready_leaves_the_main_target_as_it_is_and_keeps_nobody_from_joining() -> None:
    world = after_the_deadline(straggling())
    before = served(world)
    world.stick("old", failing="container server: exit code 1").settle().wait(seconds=1801).settle()

    assert world.condition(world.server(), "UpToDate") == "False/FallbackUnavailable"
    assert world.condition(world.server(), "Stalled") == "True/FallbackUnavailable"
    assert world.condition(world.server(), "Ready") == "True/Promoted"
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/ServerBlocked"
    assert served(world) == before

    world.add(make_binding("new", namespace="alpha").on_server().build()).settle().roll_out().settle()
    assert set(served(world)) == {*before, "alpha.new"}

    world.live_on(fails_in("beta"))
    assert releases_of(served(world)) == {"alpha.classifier": "r2", "alpha.new": "r2"}
    assert releases_of(served(world, "old")) == {"beta.classifier": "r1"}


def gone(world: World) -> None:
    del world.targets["serving", "old"]


def seen_as(**fields: object) -> Callable[[World], None]:
    def change(world: World) -> None:
        target = world.target("old")
        target.view = replace(target.view, **fields)  # type: ignore[arg-type]  # fields of the view

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (gone, "Deployment old (spec.upgrade.fallbackTargetRef) does not exist"),
        (seen_as(consent=None), "does not carry the label relora.dev/adapter-server: vllm"),
        (seen_as(controlled=True), "has a controller owner"),
        (seen_as(other_managers=("argocd",)), "argocd owns the annotation"),
        (seen_as(replicas=0, total_replicas=0, updated_replicas=0, available_replicas=0), "it has 0 replicas"),
    ],
    ids=["gone", "no consent", "controlled", "other manager", "scaled to zero"],
)
def test_a_fallback_that_cannot_take_anybody_is_told_with_the_cause(spoil: Callable[[World], None], words: str) -> None:
    world = straggling()
    before = served(world)
    spoil(world)
    after_the_deadline(world)
    if ("serving", "old") in world.targets:
        world.roll_out("old").settle()

    assert world.condition(world.server(), "Stalled") == "True/FallbackUnavailable"
    assert words in world.server().status.conditions[1].message
    assert served(world) == before
    assert '"release":"r1"' in str(world.target().view.serving_set)

    world.targets["serving", "old"] = replace(world.add_target("old", consent="vllm").target("old"))
    world.live_on(fails_in("beta"))
    assert world.condition(world.server(), "UpToDate") == "False/Split"


def test_a_cut_over_that_fails_puts_everybody_back_on_the_main_target() -> None:
    world = after_the_deadline(straggling())
    before = served(world)
    world.roll_out("old").settle().stick(failing="crash").settle().wait(seconds=1801).settle().roll_out().settle()

    assert served(world) == before
    assert world.condition(world.server(), "UpToDate") == "False/RolledBack"
    assert world.server().status.fallback is None
    assert all(world.condition(one, "Ready") == "True/Promoted" for one in world.bindings.values())

    world.annotate(world.server(), retryRequestedAt="now").live_on(fails_in("beta"))
    assert releases_of(served(world)) == {"alpha.classifier": "r2"}


@pytest.mark.parametrize("moment", ["before the fallback serves", "before the main target moves", "after"])
def test_a_release_that_is_withdrawn_while_members_stay_behind_is_left_by_all(moment: str) -> None:
    world = split() if moment == "after" else after_the_deadline(straggling())
    if moment == "before the main target moves":
        world.roll_out("old").settle()
    release = world.releases["r2"]
    world.add(release.model_copy(update={"spec": release.spec.model_copy(update={"withdrawn": True})}))
    world.live_on(fails_in("beta"))

    assert releases_of(served(world)) == {"alpha.classifier": "r1", "beta.classifier": "r1"}
    assert world.server().status.fallback is None
    assert world.condition(world.server(), "UpToDate") == "True/NewestRelease"


def test_a_fallback_that_is_created_anew_gets_its_set_back() -> None:
    world = split()
    before = served(world, "old")
    del world.targets["serving", "old"]
    world.settle()
    assert world.condition(world.server(), "Ready") == "False/FallbackUnavailable"
    assert world.condition(world.binding(namespace="beta"), "Ready") == "False/FallbackUnavailable"
    assert world.condition(world.binding(namespace="alpha"), "Ready") == "True/Promoted"

    world.add_target("old", consent="vllm").settle()
    assert world.condition(world.server(), "Ready") == "False/RollingOut"
    world.live_on(fails_in("beta"))

    assert served(world, "old") == before
    assert world.condition(world.server(), "Ready") == "True/Promoted"
    assert world.condition(world.binding(namespace="beta"), "Ready") == "True/Promoted"


def test_of_a_third_release_only_those_may_stay_behind_who_already_do() -> None:
    world = split("alpha", "beta", "gamma")
    world.add(make_release("r3", "r2", minutes=200)).live_on(fails_in("beta", "gamma"))
    after_the_deadline(world).live_on(fails_in("beta", "gamma"))
    assert world.condition(world.server(), "UpToDate") == "False/UpgradeOverdue"
    assert world.condition(world.binding(namespace="alpha"), "UpToDate") == "False/ServerBlocked"
    assert releases_of(served(world)) == {"alpha.classifier": "r2", "gamma.classifier": "r2"}

    tried_anew(world, "gamma").live_on(fails_in("beta"))
    assert releases_of(served(world)) == {"alpha.classifier": "r3", "gamma.classifier": "r3"}
    assert releases_of(served(world, "old")) == {"beta.classifier": "r1"}
    assert beside(world).release_name == "r1"


def test_a_straggler_that_is_deleted_leaves_nothing_to_ask_the_fallback_for() -> None:
    world = split()
    world.delete_binding("classifier", "beta")
    world.live_on(fails_in("beta"))

    assert world.server().status.fallback is None
    assert world.condition(world.server(), "UpToDate") == "True/NewestRelease"


def test_whoever_stays_behind_does_so_whatever_the_server_is_told_then() -> None:
    world = split()
    before = served(world, "old")
    upgrade = {"stragglers": "Block", "fallbackTargetRef": {"kind": "Deployment", "name": "another"}}
    world.add(world.server().model_copy(update={"spec": make_server(upgrade=upgrade).spec})).live_on(fails_in("beta"))

    assert served(world, "old") == before
    assert beside(world).target_name == "old"
    assert world.condition(world.binding(namespace="beta"), "Ready") == "True/Promoted"
    tried_anew(world).live_on()
    assert releases_of(served(world)) == {"alpha.classifier": "r2", "beta.classifier": "r2"}


def test_another_fallback_that_is_named_before_the_cut_over_is_used_in_its_place() -> None:
    world = after_the_deadline(straggling())
    fallback = {"kind": "Deployment", "name": "other"}
    upgrade = {"stragglers": "Split", "deadlineSeconds": DEADLINE_SECONDS, "fallbackTargetRef": fallback}
    world.add_target("other", consent="vllm")
    world.add(world.server().model_copy(update={"spec": make_server(upgrade=upgrade).spec})).live_on(fails_in("beta"))

    assert beside(world).target_name == "other"
    assert releases_of(served(world, "other")) == {"beta.classifier": "r1"}


def test_the_time_of_the_members_begins_when_nothing_holds_the_release_back() -> None:
    world = split_fleet("alpha", "beta")
    halting = make_release("r2", "r1", minutes=10, rollout={"canary": {"selector": {"matchLabels": {"a": "b"}}}})
    world.add(halting).live_on(fails_in("beta")).wait(seconds=DEADLINE_SECONDS).settle()
    assert world.condition(world.server(), "UpToDate") == "False/ReleaseHalted"
    assert world.server().status.next is None

    world.add(world.releases["r2"].model_copy(update={"spec": make_release("r2", "r1").spec}))
    world.live_on(fails_in("beta"))
    assert world.condition(world.server(), "UpToDate") == "False/AwaitingBindings"
    after_the_deadline(world).live_on(fails_in("beta"))
    assert world.condition(world.server(), "UpToDate") == "False/Split"


def test_of_the_two_workloads_only_one_is_rolled_out_at_a_time() -> None:
    world = after_the_deadline(straggling())
    before = world.target().view.serving_set
    world.add(make_binding("new", namespace="alpha").on_server().build()).settle()
    assert world.target().view.serving_set == before
    world.roll_out("old").settle()
    assert '"release":"r2"' in str(world.target().view.serving_set)

    world = straggling()
    world.add(make_binding("new", namespace="beta").on_server().build()).settle()
    assert '"beta.new"' in str(world.target().view.serving_set)
    after_the_deadline(world)
    assert world.target("old").view.serving_set is None
    world.roll_out().settle()
    assert '"beta.classifier"' in str(world.target("old").view.serving_set)


def test_whoever_stays_behind_keeps_the_seat_on_a_full_server() -> None:
    world = split()
    spec = world.server().spec.model_copy(update={"max_adapters": 2})
    world.add(world.server().model_copy(update={"spec": spec}))
    world.add(make_binding("early", namespace="alpha", minutes=-5).on_server().build()).live_on(fails_in("beta"))

    assert world.condition(world.binding("early", "alpha"), "Ready") == "False/ServerFull"
    assert beside(world).served_names == ["beta.classifier"]
    assert world.condition(world.binding(namespace="beta"), "Ready") == "True/Promoted"


def test_a_suspended_server_moves_nobody_when_the_deadline_is_over() -> None:
    world = straggling()
    spec = world.server().spec.model_copy(update={"suspend": True})
    world.add(world.server().model_copy(update={"spec": spec}))
    after_the_deadline(world)

    assert world.target("old").view.serving_set is None
    assert world.condition(world.server(), "UpToDate") == "False/Suspended"


def test_nobody_moves_when_nobody_has_passed() -> None:
    world = after_the_deadline(straggling(of=("alpha", "beta")))

    assert world.target("old").view.serving_set is None
    assert world.condition(world.server(), "UpToDate") == "False/UpgradeOverdue"

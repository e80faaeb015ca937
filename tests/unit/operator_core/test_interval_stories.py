"""Changes of a serving set on one base that wait for one another, played in memory."""

from dataclasses import replace

from fleet.builders import digest, make_binding, make_release, make_server
from fleet.stories import fails_in, served, split, split_fleet
from fleet.world import World
from relora_operator.core.actions import Key

INTERVAL_SECONDS = 3600
SERVER = Key("AdapterServer", "serving", "vllm")


def patient(*teams: str) -> World:
    """A server that lets changes wait, with members in use on the first release."""
    world = World().add(make_release("r1"), make_server(upgrade={"minIntervalSeconds": INTERVAL_SECONDS})).add_target()
    for team in teams:
        world.add(make_binding(namespace=team).on_server().build())
    return world.live_on()


def joins(world: World, team: str) -> World:
    return world.add(make_binding(namespace=team).on_server().build()).live_on()


def test_the_first_set_waits_for_nothing() -> None:
    assert set(served(patient("alpha"))) == {"alpha.classifier"}


def test_new_members_come_together_when_the_time_since_the_last_roll_out_is_over() -> None:
    world = joins(patient("alpha"), "beta").wait(seconds=600)
    joins(world, "gamma")

    assert set(served(world)) == {"alpha.classifier"}
    assert world.condition(world.binding(namespace="beta"), "Ready") == "False/AwaitingServer"
    assert world.condition(world.server(), "Ready") == "True/Promoted"
    seconds = world.reconcile(SERVER).requeue_after_seconds
    assert seconds is not None
    assert INTERVAL_SECONDS - 700 < seconds <= INTERVAL_SECONDS - 600

    sets = world.target().view.generation
    world.wait(seconds=seconds).live_on()
    assert set(served(world)) == {"alpha.classifier", "beta.classifier", "gamma.classifier"}
    assert world.target().view.generation == sets + 1


def test_a_better_revision_waits_too() -> None:
    world = patient("alpha")
    before = served(world)
    binding = world.binding(namespace="alpha")
    source = binding.spec.source.model_copy(update={"digest": digest("trained anew")})
    world.add(binding.model_copy(update={"spec": binding.spec.model_copy(update={"source": source})})).live_on()
    assert served(world) == before

    world.wait(seconds=INTERVAL_SECONDS).live_on()
    assert digest("trained anew") in served(world)["alpha.classifier"]


def test_a_new_base_waits_for_nothing() -> None:
    world = patient("alpha").add(make_release("r2", "r1", minutes=1)).live_on()

    assert served(world)["alpha.classifier"].startswith("r2")


def test_a_member_that_leaves_waits_for_nothing_and_takes_along_what_was_collected() -> None:
    world = joins(patient("alpha", "beta"), "gamma")
    world.delete_binding("classifier", "beta")
    world.live_on()

    assert set(served(world)) == {"alpha.classifier", "gamma.classifier"}


def test_a_set_that_the_workload_lost_is_put_back_at_once() -> None:
    world = patient("alpha")
    before = served(world)
    world.targets.clear()
    world.settle().add_target().live_on()

    assert served(world) == before


def test_whoever_joins_those_who_stay_behind_waits_for_nothing_there() -> None:
    world = split_fleet("alpha", "beta", minIntervalSeconds=1800).add(make_release("r2", "r1", minutes=10))
    world.target("old").view = replace(
        world.target("old").view, replicas=0, total_replicas=0, updated_replicas=0, available_replicas=0
    )
    world.live_on(fails_in("beta")).wait(seconds=INTERVAL_SECONDS).live_on(fails_in("beta"))
    assert world.condition(world.server(), "UpToDate") == "False/FallbackUnavailable"

    world.add(make_binding("new", namespace="beta").on_server().build()).settle().roll_out().settle()

    assert '"beta.new"' in str(world.target("old").view.serving_set)


def test_those_who_stay_behind_wait_for_nothing() -> None:
    world = split_fleet("alpha", "beta", minIntervalSeconds=86_400).add(make_release("r2", "r1", minutes=10))
    world.live_on(fails_in("beta")).wait(seconds=INTERVAL_SECONDS).live_on(fails_in("beta"))

    assert world.condition(world.server(), "UpToDate") == "False/Split"
    assert set(served(world, "old")) == set(served(split(), "old"))

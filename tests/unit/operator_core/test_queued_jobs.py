"""Jobs that a queue holds, lets go and takes back."""

from dataclasses import replace

from fleet.builders import make_binding, make_profile, make_release
from fleet.world import World
from unit.operator_core.test_every_reason import FIRST, with_pod


def in_a_queue(*names: str, rollout: dict[str, object] | None = None) -> World:
    """A release whose Jobs wait in a queue, after its delta was made."""
    world = World().add(make_profile(scheduling={"localQueueName": "gpus"}), FIRST)
    world.add(*(make_binding(name, minutes=index).build() for index, name in enumerate(names))).live_on()
    world.add(make_release("r2", "r1", minutes=10, rollout=rollout or {})).settle()
    return let_go(world, "delta").run_all(kind="delta").settle()


def let_go(world: World, kind: str = "readaptation", *, at_most: int = 100) -> World:
    """Play the queue: admit Jobs, in the order of their creation."""
    for job in [job for job in world.live_jobs(kind) if job.view.suspended][:at_most]:
        job.view = replace(job.view, suspended=False, started_at=world.now)
    return world.settle()


def take_back(world: World) -> World:
    """Play the queue: preempt every Job; its pods are deleted."""
    for job in world.live_jobs():
        job.view = replace(job.view, suspended=True, pods=())
    return world.settle()


def counts(world: World) -> tuple[int, int]:
    """Return how many bindings the release counts as queued and as running."""
    found = world.releases["r2"].status.bindings
    assert found is not None
    return found.queued, found.running


def test_what_a_queue_holds_is_queued_for_as_long_as_it_takes_and_then_runs() -> None:
    world = in_a_queue("classifier")
    assert world.condition(world.binding(), "UpToDate") == "False/Queued"
    assert counts(world) == (1, 0)
    world.wait(seconds=10 * 86_400).settle()
    assert world.condition(world.binding(), "UpToDate") == "False/Queued"
    with_pod(let_go(world), scheduled=True, phase="Running")
    assert world.condition(world.binding(), "UpToDate") == "False/Running"
    assert counts(world) == (0, 1)


def test_a_preempted_job_goes_on_without_a_failed_attempt_or_a_pause() -> None:
    world = let_go(in_a_queue("classifier"))
    take_back(world.wait(seconds=600))
    assert world.condition(world.binding(), "UpToDate") == "False/Queued"
    assert counts(world) == (1, 0)
    let_go(world.wait(seconds=86_400))
    assert len(world.live_jobs()) == 1
    world.live_on()
    candidate = world.binding().status.candidate
    assert candidate is not None
    assert (candidate.attempt, candidate.failures) == (1, 0)
    assert world.condition(world.binding(), "UpToDate") == "True/NewestRelease"


def test_a_release_limits_who_runs_and_who_waits_in_the_queue() -> None:
    names = [f"b{index}" for index in range(6)]
    world = in_a_queue(*names, rollout={"maxRunningJobs": 2, "maxQueuedJobs": 3})
    assert len(world.live_jobs()) == 3
    let_go(world, at_most=1)
    assert (len(world.live_jobs()), counts(world)) == (4, (5, 1))
    let_go(world, at_most=1)
    assert (len(world.live_jobs()), counts(world)) == (4, (4, 2))
    assert len(in_a_queue(*names).live_jobs()) == 6, "the queue alone sets the pace"

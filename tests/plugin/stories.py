"""Fleets at moments that people look at, made by the operator's own decisions."""

from copy import deepcopy
from functools import cache

from fleet.builders import at, make_binding, make_release, make_server
from fleet.jobs import Script, SimJob, StepEnd, exits, run
from fleet.world import World
from relora_contract.report import Verdict
from relora_kubectl.fleet import Fleet

STEP_SECONDS = 600
DELTA_SECONDS = 120


def fleet(*namespaces: str) -> World:
    """A world whose first release serves one binding of each namespace on a shared server, and one without server."""
    world = World().add(make_release("r1"), make_server()).add_target()
    for name in namespaces:
        world.add(make_binding(namespace=name).on_server().build())
    return world.add(make_binding("alone", "lonely").build()).live_on()


def below(*namespaces: str) -> Script:
    """Gates say Failed in some namespaces and Passed elsewhere; each step takes ten minutes."""

    def end(job: SimJob, step: str) -> StepEnd:
        verdict = Verdict.FAILED if job.view.namespace in namespaces else Verdict.PASSED
        accuracy = "0.74" if verdict is Verdict.FAILED else "0.86"
        return StepEnd(verdict, adapter=f"{job.request_digest} {step}", accuracy=accuracy, seconds=STEP_SECONDS)

    return end


def fleet_of(world: World) -> Fleet:
    """Return a world's objects as the plugin reads them."""
    return Fleet(
        releases=list(world.releases.values()),
        profiles=list(world.profiles.values()),
        namespaces=world.namespaces,
        bindings=list(world.bindings.values()),
        servers=list(world.servers.values()),
    )


def apply_r2(world: World, **spec: object) -> World:
    """Apply the second release, and store its delta."""
    world.now = max(world.now, at(10))
    world.add(make_release("r2", "r1", minutes=10, **spec)).settle()
    return world.wait(seconds=DELTA_SECONDS).run_all(kind="delta").settle()


def half_way() -> World:
    """Release r2 while one binding failed, one passed, two run and one waits for its slot; their server waits."""
    return deepcopy(_half_way())


@cache
def _half_way() -> World:
    world = apply_r2(fleet("alpha", "beta", "gamma", "omega"), rollout={"maxRunningJobs": 2})
    for _ in range(2):
        world.wait(seconds=STEP_SECONDS)
        for job in world.live_jobs():
            if job.view.namespace in {"alpha", "beta"}:
                run(world, job, below("beta"))
        world.settle()
    return world


def ended(*failing: str) -> World:
    """Release r2 after everything came to its end; gates fail in the given namespaces."""
    return deepcopy(_ended(*failing))


@cache
def _ended(*failing: str) -> World:
    return apply_r2(fleet("alpha", "beta")).live_on(below(*failing))


def rolled_back() -> World:
    """Release r2 after its set was taken back from the server."""
    world = apply_r2(fleet("alpha", "beta")).run_all(below()).settle()
    world.stick(failing="init container relora-fetch: exit code 45").settle().wait(seconds=1801).settle()
    return world.roll_out().settle()


def without_delta() -> World:
    """Release r2 after its delta could not be made."""
    world = fleet("alpha").add(make_release("r2", "r1", minutes=10)).settle()
    return world.run_all(exits(45, at_step="delta")).settle()

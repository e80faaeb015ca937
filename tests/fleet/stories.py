"""Where stories begin: adapters that are in use on the first release."""

from fleet.builders import make_binding, make_release, make_server
from fleet.jobs import Script, SimJob, StepEnd
from fleet.world import World
from relora_contract.report import Verdict


def served(world: World, name: str = "vllm") -> dict[str, str]:
    """Return release and digest by served name."""
    serving = world.target(name).serving
    assert serving is not None
    return {adapter.name: f"{serving.release} {adapter.digest}" for adapter in serving.adapters}


def fleet_of(*names: str, server: bool = True, **spec: object) -> World:
    """A world in which the first release serves the pinned adapters of one binding per namespace."""
    world = World().add(make_release("r1"))
    if server:
        world.add(make_server()).add_target()
    for name in names or ("team",):
        binding = make_binding(namespace=name, **spec)  # type: ignore[arg-type]  # fields of the spec
        world.add((binding.on_server() if server else binding).build())
    return world.live_on()


DEADLINE_SECONDS = 3600


def split_fleet(*names: str, **spec: object) -> World:
    """A world like `fleet_of`, whose server moves without stragglers: they go to the workload `old`."""
    fallback = {"kind": "Deployment", "name": "old"}
    upgrade = {"stragglers": "Split", "deadlineSeconds": DEADLINE_SECONDS, "fallbackTargetRef": fallback}
    world = World().add(make_release("r1"), make_server(upgrade={**upgrade, **spec}))
    world.add_target().add_target("old", consent="vllm")
    for name in names:
        world.add(make_binding(namespace=name).on_server().build())
    return world.live_on()


def fails_in(*namespaces: str) -> Script:
    """The gates of some namespaces' bindings fail, the others pass."""

    def script(job: SimJob, step: str) -> StepEnd:
        verdict = Verdict.FAILED if job.view.namespace in namespaces else Verdict.PASSED
        return StepEnd(verdict=verdict, adapter=f"{job.request_digest} {step}")

    return script


def straggling(*names: str, of: tuple[str, ...] = ("beta",)) -> World:
    """The second release, on which some members have failed, up to the deadline."""
    return split_fleet(*(names or ("alpha", "beta"))).add(make_release("r2", "r1", minutes=10)).live_on(fails_in(*of))


def after_the_deadline(world: World) -> World:
    """The time of those is over that have not passed."""
    return world.wait(seconds=DEADLINE_SECONDS).settle()


def split(*names: str, of: tuple[str, ...] = ("beta",)) -> World:
    """A server that has moved without some of its members."""
    world = after_the_deadline(straggling(*names, of=of)).live_on(fails_in(*of))
    assert world.condition(world.server(), "UpToDate") == "False/Split"
    return world

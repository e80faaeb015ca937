"""Stories of releases that may be halted: fleets, what fails in them, and what the release says."""

from fleet.builders import make_binding, make_release, make_server
from fleet.jobs import Script, SimJob, StepEnd, all_pass, gate_says
from fleet.world import World
from relora_contract.report import Verdict

CANARY = {"selector": {"matchLabels": {"canary": "yes"}}}
NONE_MAY_FAIL = {"maxFailed": "0"}


def many(size: int, **rollout: object) -> World:
    """Bindings b00, b01, … without a server on the first release, and a second one."""
    world = World().add(make_release("r1"))
    for index in range(size):
        world.add(make_binding(f"b{index:02}").build())
    return world.live_on().add(make_release("r2", "r1", minutes=10, rollout=rollout))


def on_servers(members: dict[str, str], canaries: tuple[str, ...], **rollout: object) -> World:
    """Bindings by name on the servers that they name, of which some are canaries, and a second release."""
    world = World().add(make_release("r1"))
    for name in sorted(set(members.values())):
        server = make_server(name)
        labels = {"canary": "yes"} if name in canaries else {}
        world.add(server.model_copy(update={"metadata": server.metadata.model_copy(update={"labels": labels})}))
        world.add_target(name)
    for name, server_name in members.items():
        world.add(make_binding(name).on_server(server_name).build())
    return world.live_on().add(make_release("r2", "r1", minutes=10, rollout={"canary": CANARY, **rollout}))


def fail(*names: str) -> Script:
    """The gates of these bindings fail, those of the others pass."""

    def script(job: SimJob, step: str) -> StepEnd:
        failing = job.view.name.rsplit("-", 2)[0] in names
        return gate_says(Verdict.FAILED)(job, step) if failing else all_pass(job, step)

    return script


def rollout(world: World, **changes: object) -> World:
    """Change fields of the second release's `spec.rollout`."""
    release = world.releases["r2"]
    spec = release.spec.model_dump(by_alias=True, exclude_none=True)
    spec["rollout"] = {**spec.get("rollout", {}), **changes}
    return world.add(release.model_copy(update={"spec": type(release.spec).model_validate(spec)}))


def told(world: World, name: str) -> str:
    return world.condition(world.binding(name), "UpToDate")


def release_says(world: World) -> dict[str, str]:
    return {kind: world.condition(world.releases["r2"], kind) for kind in ("Ready", "Halted", "Stalled", "Complete")}


def served_by(world: World, server: str) -> str:
    serving = world.target(server).serving
    assert serving is not None
    return serving.release

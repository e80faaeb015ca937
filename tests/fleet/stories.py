"""Where stories begin: adapters that are in use on the first release."""

from fleet.builders import make_binding, make_release, make_server
from fleet.world import World


def served(world: World) -> dict[str, str]:
    """Return release and digest by served name."""
    serving = world.target().serving
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

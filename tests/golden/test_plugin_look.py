"""What `kubectl relora` prints, for people to judge its look."""

from collections.abc import Callable, Iterable
from io import StringIO

from rich.console import Console, RenderableType

from fleet.builders import make_binding, make_release
from fleet.world import World
from plugin.stories import ended, fleet_of, half_way, rolled_back
from relora_kubectl.history import binding_history, server_history
from relora_kubectl.history_text import history_blocks
from relora_kubectl.plan import plan_view
from relora_kubectl.plan_text import plan_blocks
from relora_kubectl.returns import returns_of
from relora_kubectl.returns_text import returns_blocks
from relora_kubectl.status import StatusView, status_view
from relora_kubectl.status_text import status_blocks
from relora_kubectl.tables import Block, plain
from relora_kubectl.terminal import rendered, status_screen

Expect = Callable[[str, str], None]


def piped(blocks: Iterable[Block]) -> str:
    return "".join(f"{line}\n" for line in plain(blocks))


def screen(drawn: RenderableType) -> str:
    """Return what a terminal of 110 columns without colours shows."""
    text = StringIO()
    Console(file=text, width=110, force_terminal=True, color_system=None, highlight=False).print(drawn)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def status_of(world: World) -> StatusView:
    return status_view(
        list(world.releases.values()),
        name=None,
        servers=list(world.servers.values()),
        bindings=list(world.bindings.values()),
        profiles=world.profiles,
        now=world.now,
    )


def test_a_release_half_way(expect: Expect) -> None:
    view = status_of(half_way())
    expect("plugin/status-half-way.txt", piped(status_blocks(view)))
    expect("plugin/status-half-way-terminal.txt", screen(status_screen(view)))


def test_a_release_that_was_promoted(expect: Expect) -> None:
    expect("plugin/status-promoted-terminal.txt", screen(status_screen(status_of(ended()))))


def test_the_histories_of_a_binding_and_of_a_server(expect: Expect) -> None:
    expect("plugin/history-binding.txt", piped(history_blocks(binding_history(half_way().binding(namespace="beta")))))
    expect("plugin/history-server.txt", piped(history_blocks(server_history(rolled_back().server()))))


def test_the_plan_of_a_release(expect: Expect) -> None:
    world = ended("beta").add(make_binding("lost", "alpha", source="r0").build())
    view = plan_view(make_release("r3", "r2", rollout={"maxRunningJobs": 2}), fleet_of(world), world.now)
    expect("plugin/plan.txt", piped(plan_blocks(view, 20)))
    expect("plugin/plan-terminal.txt", screen(rendered(plan_blocks(view, 2))))


def test_a_withdrawal_before_it_is_confirmed(expect: Expect) -> None:
    world = ended().add(
        make_binding("late", "beta", source="r2").on_server().build(),
        make_binding("fresh", "lonely", source="r2").build(),
    )
    returns = returns_of(world.live_on().releases["r2"], fleet_of(world))
    expect("plugin/withdrawal.txt", piped(returns_blocks(returns)))
    expect("plugin/withdrawal-terminal.txt", screen(rendered(returns_blocks(returns))))

"""The statuses that the operator writes, recorded in the stories of every documented reason and in some more."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from unittest.mock import patch

from fleet.builders import make_binding, make_release, make_server
from fleet.world import OPERATOR_NAMESPACE, Watched, World
from gitops.kstatus import Document
from relora_contract.wellknown import GROUP, VERSION
from relora_operator.core.reasons import Reason
from unit.operator_core.test_every_reason import (
    FIRST,
    INVALID,
    QUOTA,
    SECOND,
    STORIES,
    Told,
    alone,
    left_behind,
    of_binding,
    of_release,
    of_server,
    refusing,
    served,
    started,
    stuck,
)


def _hindered(change: Callable[[World], object], when: str) -> Told:
    """A change to the target of a server: before anything is served, at rest, or when a release comes."""
    unserved = World().add(FIRST, make_server(), make_binding().on_server().build()).add_target()
    world = unserved if when == "at first" else served()
    change(world)
    return of_binding(world.settle().add(SECOND).live_on() if when == "in an upgrade" else world.settle())


def _consent_to(name: str) -> Callable[[World], object]:
    def change(world: World) -> None:
        world.target().view = replace(world.target().view, consent=name)

    return change


def _controlled(world: World) -> None:
    world.target().view = replace(world.target().view, controlled=True)


def _gone(world: World) -> None:
    del world.targets["serving", "vllm"]


def _claimed(world: World) -> None:
    world.add(make_server("rival", minutes=-5, targetRef={"kind": "Deployment", "name": "vllm"}))
    _consent_to("rival")(world)


_HINDRANCES = {"without consent": _consent_to("other"), "controlled": _controlled, "gone": _gone, "claimed": _claimed}


def _another_model() -> Told:
    server = make_server(model="huge", initialReleaseName="huge-r1")
    return of_binding(World().add(FIRST, server, make_binding().on_server().build()).add_target().live_on())


def _unknown_first_release() -> Told:
    server = make_server(initialReleaseName="gone")
    return of_server(World().add(FIRST, server, make_binding().on_server().build()).add_target().live_on())


def _without_a_server(world: World) -> Told:
    world.servers.clear()
    return of_binding(world.settle())


def _previous_set_stuck() -> Told:
    world = stuck(started(served()))
    return of_server(world.stick(failing="crash").settle().wait(seconds=1801).settle())


def _members_leave() -> Told:
    world = served()
    world.delete_binding("classifier")
    return of_server(world.settle())


def _suspended_release() -> Told:
    return of_release(alone().add(make_release("r2", "r1", minutes=10, suspend=True)).settle(), "Complete")


def _suspended_server(*, in_use: bool) -> Told:
    world = served(spec={"suspend": not in_use})
    if in_use:
        server = world.server()
        world.add(server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": True})}))
    return of_server(world.add(SECOND).live_on())


def _held_server(*, canary: bool) -> Told:
    """A server that is no canary, while one that is serves the same release; or while there is none."""
    world = served()
    labels = {"canary": "yes"} if canary else {}
    first = make_server("first", targetRef={"kind": "Deployment", "name": "first"})
    first = first.model_copy(update={"metadata": first.metadata.model_copy(update={"labels": labels})})
    world.add(first, make_binding("canary").on_server("first").build()).add_target("first").live_on()
    rollout = {"canary": {"selector": {"matchLabels": {"canary": "yes"}}}}
    return of_server(world.add(make_release("r2", "r1", minutes=10, rollout=rollout)).settle())


def _fallback_lost(*, binding: bool) -> Told:
    world = left_behind()
    del world.targets["serving", "old"]
    return of_binding(world.settle(), "Ready", "beta") if binding else of_server(world.settle(), "Ready")


_FURTHER: dict[str, Callable[[], Told]] = {
    **{
        f"target {name}, {when}": partial(_hindered, change, when)
        for name, change in _HINDRANCES.items()
        for when in ("at first", "in use", "in an upgrade")
    },
    "another model": _another_model,
    "unknown first release": _unknown_first_release,
    "server deleted": lambda: _without_a_server(served()),
    "previous set stuck": _previous_set_stuck,
    "no members left": _members_leave,
    "delta refused": lambda: of_release(started(refusing(alone(), QUOTA, OPERATOR_NAMESPACE)), "Ready"),
    "delta invalid": lambda: of_release(started(refusing(alone(), INVALID, OPERATOR_NAMESPACE)), "Ready"),
    "suspended release": _suspended_release,
    "suspended server": partial(_suspended_server, in_use=True),
    "server suspended at first": partial(_suspended_server, in_use=False),
    "server that is no canary": partial(_held_server, canary=True),
    "server without the fallback that it had": partial(_fallback_lost, binding=False),
    "binding without the fallback that it had": partial(_fallback_lost, binding=True),
    "server of a halted release": partial(_held_server, canary=False),
}

PLAYED: dict[str, Callable[[], tuple[Watched, str]]] = {
    **{str(reason): story for reason, story in STORIES.items() if reason is not Reason.NOT_ELIGIBLE},
    **_FURTHER,
}
"""The stories. NotEligible is a reason of blockers, never of a condition."""


@cache
def recorded(name: str) -> tuple[Document, ...]:
    """Play a story, and return every version of every object of ours that was stored on the way, in order."""
    stored: list[Document] = []
    put = World.put

    def kept(self: World, one: Watched) -> None:
        put(self, one)
        stored.append({"apiVersion": f"{GROUP}/{VERSION}", "kind": one.resource.kind, **one.to_json()})

    with patch.object(World, "put", kept):
        PLAYED[name]()
    return tuple(stored)

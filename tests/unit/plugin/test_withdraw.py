"""`kubectl relora withdraw`: what it shows, what it asks, what it writes; and that what it shows is what happens."""

import json
from collections.abc import Callable, Mapping

import pytest
import typer
from typing_extensions import override

from controller.transport import Sent
from fleet.builders import BindingBuilder, digest, make_binding, make_release
from fleet.stories import after_the_deadline, fails_in, straggling
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import apply_r2, below, ended, fleet, fleet_of, half_way
from relora_kubectl.returns import Returns, returns_of
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.resources import RELEASES
from unit.plugin.conftest import Run

R2 = RELEASES.path("", "r2")


def returns(world: World, name: str = "r2") -> Returns:
    return returns_of(world.releases[name], fleet_of(world))


def withdraw(world: World, name: str = "r2") -> World:
    release = world.releases[name]
    return world.add(release.model_copy(update={"spec": release.spec.model_copy(update={"withdrawn": True})}))


def latecomer() -> World:
    """A member of the server came with an adapter for r2 and has none for an earlier release."""
    late = make_binding("late", "beta", source="r2").on_server().build()
    return ended().add(late, make_binding("fresh", "lonely", source="r2").build()).live_on()


def arriving() -> World:
    """The set on r2 is being rolled out."""
    return apply_r2(fleet("alpha")).run_all(below()).settle()


def succeeded() -> World:
    """r3 supersedes r2, and one of the two members did not pass for it."""
    return ended().add(make_release("r3", "r2", minutes=600)).live_on(below("beta"))


def resumed(world: World) -> World:
    server = world.server()
    return world.add(server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": None})}))


def passed() -> World:
    """Both members have passed for r3, which supersedes r2, with what was made from their pairs of r2."""
    return resumed(suspended().add(make_release("r3", "r2", minutes=600)).live_on())


def pinned() -> World:
    """Both members have adapters for r3 that their owners trained."""
    world = suspended().add(make_release("r3", "r2", minutes=600))
    for namespace in ("alpha", "beta"):
        source = {"releaseName": "r3", "uri": "s3://adapters/own", "digest": digest(namespace)}
        world.add(BindingBuilder(world.binding(namespace=namespace)).with_spec(source=source).build())
    return resumed(world.live_on())


def moving_on() -> World:
    """The set on r3 is being rolled out."""
    world = ended().add(make_release("r3", "r2", minutes=600)).settle()
    return world.run_all(kind="delta").settle().run_all(below()).settle()


def suspended() -> World:
    world = ended()
    server = world.server()
    return world.add(server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": True})}))


def arriving_at_a_suspended_server() -> World:
    """The set on r2 is being rolled out, and its server was suspended meanwhile."""
    world = arriving()
    server = world.server()
    return world.add(server.model_copy(update={"spec": server.spec.model_copy(update={"suspend": True})}))


STORIES: dict[str, tuple[Callable[[], World], str, str | None]] = {
    "it goes back": (ended, "r1", "r1"),
    "somebody would be dropped": (latecomer, "r2", None),
    "its roll-out is taken back": (arriving, "r1", "r1"),
    "its roll-out is taken back although it is suspended": (arriving_at_a_suspended_server, "r1", "r1"),
    "a newer release is not ready": (succeeded, "r1", "r1"),
    "all have passed for a newer release": (passed, "r3", "r3"),
    "a newer release has all pairs": (pinned, "r3", "r3"),
    "a newer release arrives": (moving_on, "r3", "r3"),
    "it is suspended": (suspended, "r2", "r1"),
}


@pytest.mark.parametrize(("story", "ends_on", "told"), STORIES.values(), ids=STORIES)
def test_servers_go_where_the_preview_says(story: Callable[[], World], ends_on: str, told: str | None) -> None:
    world = story()
    (server,) = returns(world).servers
    assert server.release_name == told
    assert server.leaves == (ends_on != "r2")

    withdraw(world).live_on(below("beta"))
    current = world.server().status.current
    assert current is not None
    assert current.release_name == ends_on


def test_who_is_served_beside_the_server_keeps_it_from_no_release() -> None:
    world = after_the_deadline(straggling()).live_on(fails_in("beta"))
    world.add(make_release("r3", "r2", minutes=6000)).live_on(fails_in("beta"))
    after_the_deadline(world).live_on(fails_in("beta"))
    (told,) = returns(world, "r3").servers

    withdraw(world, "r3").live_on(fails_in("beta"))

    current = world.server().status.current
    assert current is not None
    assert current.release_name == told.release_name == "r2"


def test_bindings_without_a_server_return_or_keep_their_pair() -> None:
    world = latecomer()
    told = {one.name: one.release_name for one in returns(world).bindings}
    assert told == {"alone": "r1", "fresh": None}

    withdraw(world).live_on()
    ends = {name: world.binding(name, "lonely").status.current for name in told}
    assert {name: pair.release_name for name, pair in ends.items() if pair} == {"alone": "r1", "fresh": "r2"}


def test_the_jobs_that_end_are_counted() -> None:
    world = half_way()
    assert returns(world).jobs == len(world.live_jobs()) == 2
    world = fleet("alpha").add(make_release("r2", "r1", minutes=10)).settle()
    assert (returns(world).jobs, returns(world).delta_jobs) == (0, 1)


def test_the_jobs_of_a_newer_release_that_start_from_its_pairs_end_too() -> None:
    world = ended().add(make_release("r3", "r2", minutes=600)).settle().run_all(kind="delta").settle()
    jobs = world.live_jobs()
    told = returns(world).jobs

    withdraw(world).settle()

    assert told == len(jobs) == sum(job.view.deleting for job in jobs)


def test_what_the_preview_leaves_out_is_told_before_anybody_agrees(run: Run) -> None:
    shelf = Shelf.of(ended())
    (path,) = (path for path in shelf.texts if path.endswith("/lonely/adapterbindings/alone"))
    shelf.texts[path] = shelf.texts[path].replace('"Accuracy"', '"Elegance"')
    code, _, err = run(shelf, "withdraw", "r2")
    assert (code, shelf.patches) == (2, [])
    first, second = err.splitlines()
    assert first.startswith("warning: AdapterBinding lonely/alone cannot be read by this version")
    assert "Nobody can be asked here" in second


def test_an_object_that_cannot_be_read_is_told_although_the_command_fails(run: Run) -> None:
    shelf = Shelf.of(ended())
    shelf.texts[R2] = shelf.texts[R2].replace('"weights"', '"heights"')
    code, _, err = run(shelf, "status", "r2")
    assert code == 1
    assert "warning: BaseModelRelease r2 cannot be read by this version" in err


def test_a_withdrawal_is_shown_confirmed_and_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def agree(question: str, *, err: bool) -> bool:
        asked.append(question)
        return err

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", agree)
    world = latecomer()
    shelf = Shelf.of(world)
    code, out, err = run(shelf, "withdraw", "r2")
    assert (code, err, asked) == (0, "", ["Withdraw release r2 for good?"])
    assert "0 of 1 server and 1 of 2 bindings without a server leave the release\n" in out
    assert "stays: no pair to return to for beta/late" in out
    assert "A withdrawal is final" in out
    assert out.endswith("\nrelease r2 is withdrawn\n")
    ((path, body, query),) = shelf.patches
    seen = world.releases["r2"].metadata
    assert (path, query) == (R2, {"fieldManager": "relora-kubectl"})
    assert body == {
        "metadata": {"uid": seen.uid, "resourceVersion": seen.resource_version},
        "spec": {"withdrawn": True},
    }

    code, out, _ = run(shelf, "withdraw", "r2")
    assert (code, len(shelf.patches), len(asked)) == (0, 1, 1)
    assert out.startswith("release r2 was withdrawn already\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_withdrawn_without_agreement(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,  # noqa: FBT001 - a case
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal)
    monkeypatch.setattr(typer, "confirm", lambda *_arguments, **_options: False)
    shelf = Shelf.of(ended())
    code, out, err = run(shelf, "withdraw", "r2")
    assert (code, shelf.patches) == (1 if terminal else 2, [])
    assert "serving/vllm   2         r1" in out
    assert ("nothing was changed" if terminal else "give --yes") in err


def test_the_view_is_json_alone_on_standard_output(run: Run) -> None:
    code, out, err = run(Shelf.of(ended()), "withdraw", "r2", "--yes", "-o", "json")
    assert (code, err) == (0, "")
    view = json.loads(out)
    assert (view["changed"], view["returns"]["servers"][0]["releaseName"]) == (True, "r1")


def test_a_repository_that_owns_the_field_is_named(run: Run) -> None:
    shelf = Shelf.of(ended())
    shelf.managed(R2, "argocd-controller", {"f:spec": {"f:withdrawn": {}}})
    code, _, err = run(shelf, "withdraw", "r2", "--yes")
    assert code == 0
    assert "argocd-controller owns spec.withdrawn of release r2" in err
    assert "commit withdrawn: true" in err


class Suspended(Shelf):
    """Somebody changes the release between the look and the write."""

    @override
    def answer(self, sent: Sent) -> JsonObject:
        answer = super().answer(sent)
        if sent.path == R2 and sent.verb == "GET":
            stored = self.read(sent.path)
            stored["spec"]["suspend"] = True
            self.texts[sent.path] = json.dumps(stored)
        return answer


class Replaced(Shelf):
    """The release changes between the last read and the write."""

    def _merge(self, path: str, body: JsonObject, query: Mapping[str, str]) -> JsonObject:
        self.texts[path] = self.texts[path].replace('"resourceVersion": "', '"resourceVersion": "9')
        return super()._merge(path, body, query)


@pytest.mark.parametrize("kind", [Suspended, Replaced])
def test_a_release_that_changed_meanwhile_is_left_alone(run: Run, kind: type[Shelf]) -> None:
    shelf = kind(texts=Shelf.of(ended()).texts)
    code, _, err = run(shelf, "withdraw", "r2", "--yes")
    assert (code, shelf.patches) == (1, [])
    assert err == "error: r2 was changed or replaced meanwhile: look again\n"


def test_an_absent_release_is_named(run: Run) -> None:
    code, _, err = run(Shelf.of(ended()), "withdraw", "r9", "--yes")
    assert (code, err) == (1, "error: BaseModelRelease r9 does not exist\n")

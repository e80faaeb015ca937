"""`kubectl relora approve`: what it lets move, what it refuses, and what it asks."""

from collections.abc import Callable, Mapping

import pytest
import typer

from fleet.builders import make_binding, make_release
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import fleet
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.resources import BINDINGS
from unit.plugin.conftest import Run

MANUAL = {"mode": "Manual"}


def waiting() -> World:
    """Release r2, which two bindings of alpha and one of beta await; another one of alpha follows by itself."""
    world = fleet("alpha")
    for namespace, name in (("alpha", "first"), ("alpha", "second"), ("beta", "third")):
        world.add(make_binding(name, namespace).with_spec(updatePolicy=MANUAL).build())
    return world.live_on().add(make_release("r2", "r1", minutes=10)).live_on()


def approved(shelf: Shelf, namespace: str, name: str) -> str | None:
    value: str | None = shelf.read(BINDINGS.path(namespace, name))["spec"]["updatePolicy"].get("approvedReleaseName")
    return value


def test_an_approved_binding_moves_and_its_neighbour_stays(run: Run) -> None:
    world = waiting()
    shelf = Shelf.of(world)
    code, out, err = run(shelf, "approve", "r2", "first", "-n", "alpha")
    assert (code, out, err) == (0, "AdapterBinding alpha/first: release r2 is approved\n", "")
    ((path, body, query),) = shelf.patches
    seen = world.binding("first", "alpha").metadata
    assert (path, query) == (BINDINGS.path("alpha", "first"), {"fieldManager": "relora-kubectl"})
    assert body == {
        "metadata": {"uid": seen.uid, "resourceVersion": seen.resource_version},
        "spec": {"updatePolicy": {"approvedReleaseName": "r2"}},
    }

    stored = shelf.read(path)["spec"]
    binding = world.binding("first", "alpha")
    world.add(binding.model_copy(update={"spec": type(binding.spec).model_validate(stored)})).live_on()
    assert world.condition(world.binding("first", "alpha"), "UpToDate") == "True/NewestRelease"
    assert world.condition(world.binding("second", "alpha"), "UpToDate") == "False/AwaitingApproval"


def test_without_names_all_of_the_namespace_that_wait_are_approved_and_once_is_enough(run: Run) -> None:
    shelf = Shelf.of(waiting())
    code, out, _ = run(shelf, "approve", "r2")
    assert code == 0
    assert out == "".join(f"AdapterBinding alpha/{name}: release r2 is approved\n" for name in ("first", "second"))
    assert approved(shelf, "beta", "third") is None

    assert run(shelf, "approve", "r2")[:2] == (0, "no binding awaits an approval of release r2\n")
    assert run(shelf, "approve", "r2", "first")[:2] == (
        0,
        "AdapterBinding alpha/first: release r2 was approved already\n",
    )
    assert len(shelf.patches) == 2


@pytest.mark.parametrize("agrees", [True, False])
def test_all_namespaces_are_approved_after_a_question(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    agrees: bool,  # noqa: FBT001 - a case
) -> None:
    asked: list[str] = []

    def answer(question: str, *, err: bool) -> bool:
        asked.append(question)
        return agrees and err

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", answer)
    shelf = Shelf.of(waiting())
    code, _, err = run(shelf, "approve", "r2", "-A")
    assert asked == ["Approve release r2 for 3 bindings of 2 namespaces?"]
    assert (code, len(shelf.patches)) == ((0, 3) if agrees else (1, 0))
    assert agrees or err == "error: nothing was changed\n"


def test_nobody_is_asked_without_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    shelf = Shelf.of(waiting())
    code, _, err = run(shelf, "approve", "r2", "-A")
    assert (code, shelf.patches) == (2, [])
    assert "give --yes" in err
    assert run(shelf, "approve", "r2", "-A", "--yes")[0] == 0
    assert len(shelf.patches) == 3


def withdrawn() -> World:
    return waiting().add(make_release("r2", "r1", minutes=10, withdrawn=True))


def on_r2() -> World:
    world = waiting()
    return world.add(make_binding("newer", "alpha", source="r2").with_spec(updatePolicy=MANUAL).build()).live_on()


def not_admitted() -> World:
    chosen = {"selector": {"matchLabels": {"tier": "gold"}}}
    return waiting().add(make_release("r2", "r1", minutes=10, allowedNamespaces=chosen))


REFUSED: dict[str, tuple[Callable[[], World], str, str]] = {
    "unknown release": (waiting, "r9 first", "BaseModelRelease r9 does not exist"),
    "not accepted": (
        lambda: waiting().add(make_release("r3", "r1", minutes=20)),
        "r3 first",
        "release r3 cannot be approved: ForkedLineage: r1 is already superseded by r2",
    ),
    "withdrawn": (withdrawn, "r2 first", "release r2 cannot be approved: Withdrawn: "),
    "not newer": (on_r2, "r2 newer", "alpha/newer: NewestRelease: the binding is on release r2, which is not older"),
    "older": (on_r2, "r1 newer", "alpha/newer: NewestRelease: the binding is on release r2, which is not older"),
    "automatic": (waiting, "r2 classifier", "alpha/classifier: spec.updatePolicy.mode is Automatic"),
    "absent": (waiting, "r2 absent", "AdapterBinding alpha/absent does not exist"),
    "not admitted": (not_admitted, "r2 first", "alpha/first: NotEligible: spec.allowedNamespaces of the release"),
}


@pytest.mark.parametrize(("story", "arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_approved_is_refused_with_its_reason(
    run: Run, story: Callable[[], World], arguments: str, told: str
) -> None:
    shelf = Shelf.of(story())
    code, out, err = run(shelf, "approve", *arguments.split(), "second")
    assert (code, out, shelf.patches) == (1, "", [])
    assert told in err


def test_a_repository_that_owns_the_field_is_named(run: Run) -> None:
    shelf = Shelf.of(waiting())
    owned: JsonObject = {"f:spec": {"f:updatePolicy": {"f:mode": {}, "f:approvedReleaseName": {}}}}
    shelf.managed(BINDINGS.path("alpha", "first"), "kustomize-controller", owned)
    other: JsonObject = {"f:spec": {"f:updatePolicy": {"f:mode": {}}}}
    shelf.managed(BINDINGS.path("alpha", "second"), "argocd-controller", other)
    code, _, err = run(shelf, "approve", "r2")
    assert code == 0
    assert err == (
        "warning: AdapterBinding alpha/first: kustomize-controller owned spec.updatePolicy.approvedReleaseName and "
        "would put its value back: commit it to the repository instead\n"
    )


class Changed(Shelf):
    """Somebody changes an object after it was read."""

    def _merge(self, path: str, body: JsonObject, query: Mapping[str, str]) -> JsonObject:
        self.texts[path] = self.texts[path].replace('"resourceVersion": "', '"resourceVersion": "9')
        return super()._merge(path, body, query)


def test_a_binding_that_changed_meanwhile_is_left_alone(run: Run) -> None:
    shelf = Changed(texts=Shelf.of(waiting()).texts)
    code, _, err = run(shelf, "approve", "r2", "first")
    assert (code, err) == (1, "error: alpha/first was changed or replaced meanwhile: look again\n")
    assert approved(shelf, "alpha", "first") is None


class Fleeting(Changed):
    """The first binding changes after it was read."""

    def _merge(self, path: str, body: JsonObject, query: Mapping[str, str]) -> JsonObject:
        return super()._merge(path, body, query) if path.endswith("/first") else Shelf._merge(self, path, body, query)


def test_what_was_approved_is_told_although_another_binding_changed(run: Run) -> None:
    shelf = Fleeting(texts=Shelf.of(waiting()).texts)
    code, out, err = run(shelf, "approve", "r2")
    assert (code, out) == (1, "AdapterBinding alpha/second: release r2 is approved\n")
    assert err == "error: alpha/first was changed or replaced meanwhile: look again\n"
    assert approved(shelf, "alpha", "second") == "r2"


def test_an_approval_of_a_newer_release_is_not_taken_back(run: Run) -> None:
    world = waiting().add(make_release("r3", "r2", minutes=20)).live_on()
    policy = {"mode": "Manual", "approvedReleaseName": "r3"}
    world.add(make_binding("first", "alpha").with_spec(updatePolicy=policy).build()).settle()
    shelf = Shelf.of(world)
    code, out, _ = run(shelf, "approve", "r2")
    assert (code, out) == (0, "AdapterBinding alpha/second: release r2 is approved\n")
    assert approved(shelf, "alpha", "first") == "r3"


def test_a_namespace_that_does_not_exist_is_named(run: Run) -> None:
    code, _, err = run(Shelf.of(waiting()), "approve", "r2", "-n", "typo")
    assert (code, err) == (1, "error: namespace typo does not exist\n")


def test_the_view_is_json(run: Run) -> None:
    code, out, _ = run(Shelf.of(waiting()), "approve", "r2", "first", "-o", "json")
    assert code == 0
    assert '"changed": true' in out


def test_names_and_all_namespaces_exclude_each_other(run: Run) -> None:
    assert run(Shelf.of(waiting()), "approve", "r2", "first", "-A")[0] == 2

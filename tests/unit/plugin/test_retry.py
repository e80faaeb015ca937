"""`kubectl relora retry`: what it starts again, and when it refuses."""

from collections.abc import Callable, Mapping

import pytest

from fleet.builders import make_binding, make_profile, make_release
from fleet.jobs import exits
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import apply_r2, ended, fleet, half_way, rolled_back, without_delta
from relora_contract.api.server import FallbackSet
from relora_operator.core.actions import Key
from relora_operator.kube.errors import ForbiddenError, JsonObject
from relora_operator.kube.resources import BINDINGS, RELEASES, SERVERS
from unit.plugin.conftest import Run


def temporary_failure() -> World:
    """One attempt failed, and the next one waits its turn."""
    return apply_r2(fleet("alpha")).run_all(exits(75)).settle()


def without_data() -> World:
    """The data of every binding cannot be read."""
    return apply_r2(fleet("alpha")).run_all(exits(43)).settle()


def beside_rolled_back() -> World:
    """A set of the fallback workload was taken back."""
    world = rolled_back()
    server = world.server()
    beside = FallbackSet(target_name="old", release_name="r1", rolled_back=server.status.rolled_back)
    status = server.status.model_copy(update={"rolled_back": [], "fallback": beside})
    world.servers[Key("AdapterServer", "serving", "vllm")] = server.model_copy(update={"status": status})
    return world


RETRIED = {
    "a re-adaptation": (
        without_data,
        ("adb/classifier", "-n", "alpha"),
        "AdapterBinding alpha/classifier: the re-adaptation to release r2 starts again (InvalidData)\n",
    ),
    "the next attempt": (
        temporary_failure,
        ("AdapterBinding/classifier",),
        (
            "AdapterBinding alpha/classifier: the re-adaptation to release r2 starts again (an attempt failed, and the "
            "next one waits its turn)\n"
        ),
    ),
    "a roll-out": (
        rolled_back,
        ("ads/vllm", "-n", "serving"),
        (
            "AdapterServer serving/vllm: the set on release r2 is rolled out again (not rolled out within 1800 s: "
            "init container relora-fetch: exit code 45)\n"
        ),
    ),
    "a roll-out of the fallback": (
        beside_rolled_back,
        ("ads/vllm", "-n", "serving"),
        (
            "AdapterServer serving/vllm: the set on release r2 is rolled out again (not rolled out within 1800 s: "
            "init container relora-fetch: exit code 45)\n"
        ),
    ),
    "a delta": (without_delta, ("bmr/r2",), "BaseModelRelease r2: the delta from r1 is made again\n"),
}


@pytest.mark.parametrize(("story", "arguments", "told"), RETRIED.values(), ids=RETRIED)
def test_what_ended_without_success_is_tried_again(
    run: Run, story: Callable[[], World], arguments: tuple[str, ...], told: str
) -> None:
    world = story()
    shelf = Shelf.of(world)
    code, out, err = run(shelf, "retry", *arguments, now=world.now)
    assert (code, out, err) == (0, told, "")
    ((path, body, query),) = shelf.patches
    assert query == {"fieldManager": "relora-kubectl"}
    assert shelf.read(path)["metadata"]["annotations"]["relora.dev/retryRequestedAt"]
    assert "uid" in str(body)

    one = world.get({_path(key): key for key in tuple(world.keys())}[path])
    assert one is not None
    world.annotate(one, retryRequestedAt=shelf.read(path)["metadata"]["annotations"]["relora.dev/retryRequestedAt"])
    before = len(world.writes)
    assert len(world.settle().writes) > before + 1, "the operator does nothing with it"


def _path(key: Key) -> str:
    resources = {"BaseModelRelease": RELEASES, "AdapterBinding": BINDINGS, "AdapterServer": SERVERS}
    return resources[key.kind].path(key.namespace, key.name)


def unobserved() -> World:
    return fleet("alpha").add(make_binding("new", "alpha").build())


def server_refused() -> World:
    world = fleet("alpha")
    world.add(
        make_binding(
            "other", "alpha", servedName="alpha.classifier", serverRef={"name": "vllm", "namespace": "serving"}
        ).build()
    )
    return apply_r2(world)


def rolling_out() -> World:
    return apply_r2(fleet("alpha")).run_all().settle()


REFUSED = {
    "nothing began": (unobserved, "adb/new", "no re-adaptation was started"),
    "it runs": (half_way, "adb/classifier -n gamma", "attempt 1 for release r2 is under way"),
    "it passed": (rolled_back, "adb/classifier", "an adapter for release r2 has passed its gate; RolledBack: "),
    "its gate failed": (
        lambda: ended("beta"),
        "adb/classifier -n beta",
        "every step has ended, and finished steps are not",
    ),
    "it waits": (half_way, "adb/classifier -n omega", "attempt 1 has not started; Queued: The re-adaptation waits"),
    "its server refuses": (server_refused, "adb/other", "ServedNameConflict: "),
    "no failed set": (ended, "ads/vllm -n serving", "no set was rolled back"),
    "a set arrives": (rolling_out, "ads/vllm -n serving", "a roll-out of the set on release r2 is under way"),
    "the deltas are good": (lambda: ended("beta"), "bmr/r2", "no delta failed; bindings and servers are tried again"),
    "no delta is needed": (ended, "bmr/r1", "no delta failed"),
}


@pytest.mark.parametrize(("story", "arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_a_retry_of_nothing_is_refused(run: Run, story: Callable[[], World], arguments: str, told: str) -> None:
    shelf = Shelf.of(story())
    code, out, err = run(shelf, "retry", *arguments.split())
    assert (code, out, shelf.patches) == (1, "", [])
    assert "nothing to retry: " in err
    assert told in err


ASKED = {
    "binding": (without_data, "adb/classifier", BINDINGS.path("alpha", "classifier")),
    "server": (rolled_back, "ads/vllm -n serving", SERVERS.path("serving", "vllm")),
    "release": (without_delta, "bmr/r2", RELEASES.path("", "r2")),
}


@pytest.mark.parametrize(("story", "arguments", "path"), ASKED.values(), ids=ASKED)
def test_a_second_retry_waits_for_the_operator(run: Run, story: Callable[[], World], arguments: str, path: str) -> None:
    shelf = Shelf.of(story())
    assert run(shelf, "retry", *arguments.split())[0] == 0
    assert path in shelf.texts
    code, _, err = run(shelf, "retry", *arguments.split())
    assert code == 1
    assert "a retry was asked for already" in err


def test_a_delta_under_way_is_not_tried_again(run: Run) -> None:
    world = fleet("alpha").add(make_release("r2", "r1", minutes=10)).settle()
    assert "the delta from r1 is under way" in run(Shelf.of(world), "retry", "bmr/r2")[2]


def test_an_object_that_was_replaced_meanwhile_is_left_alone(run: Run) -> None:
    shelf = Replaced(texts=Shelf.of(without_data()).texts)
    code, _, err = run(shelf, "retry", "adb/classifier")
    assert (code, err) == (1, "error: alpha/classifier was changed or replaced meanwhile: look again\n")


class Replaced(Shelf):
    """Replaces an object after it was read."""

    def _merge(self, path: str, body: JsonObject, query: Mapping[str, str]) -> JsonObject:
        self.texts[path] = self.texts[path].replace('"uid": "', '"uid": "another-')
        return super()._merge(path, body, query)


def test_the_missing_right_is_named(run: Run) -> None:
    shelf = Shelf.of(without_data())
    shelf.failures["PATCH", "adapterbindings"] = ForbiddenError("no", status=403)
    code, _, err = run(shelf, "retry", "adb/classifier")
    assert code == 3
    assert "the right to patch adapterbindings.relora.dev in namespace alpha is missing" in err
    assert "relora-operator-edit" in err


@pytest.mark.parametrize("name", ["classifier", "tpr/default", "adb/", "pod/x"])
def test_what_cannot_be_retried_is_wrong_usage(run: Run, name: str) -> None:
    shelf = Shelf.of(ended())
    shelf.put(make_profile())
    code, _, err = run(shelf, "retry", name)
    assert code == 2
    assert "write adb/NAME, ads/NAME, bmr/NAME" in err


def test_an_absent_object_is_named(run: Run) -> None:
    code, _, err = run(Shelf.of(ended()), "retry", "adb/absent")
    assert (code, err) == (1, "error: AdapterBinding alpha/absent does not exist\n")

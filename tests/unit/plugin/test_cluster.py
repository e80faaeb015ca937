"""Reads from the API server, and what its refusals mean to people."""

from collections.abc import Mapping

import pytest

from plugin.shelf import Shelf
from plugin.stories import ended
from relora_contract.api.binding import AdapterBinding
from relora_kubectl.cluster import Cluster
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.kinds import BINDING
from relora_operator.kube.errors import (
    ExpiredError,
    ForbiddenError,
    JsonObject,
    KubeError,
    NotFoundError,
    TemporaryError,
)
from relora_operator.kube.parse import parse_own
from relora_operator.kube.resources import ResourceType
from unit.plugin.conftest import Run


def cluster_on(shelf: Shelf) -> Cluster:
    return Cluster(shelf, context="test", namespace="alpha")


async def test_all_pages_of_a_list_are_read() -> None:
    shelf = Shelf.of(ended())
    shelf.page_limit = 2
    found = await cluster_on(shelf).every(BINDING)
    assert [binding.metadata.namespace for binding in found] == ["alpha", "beta", "lonely"]
    assert shelf.lists == 2
    assert [one.metadata.namespace for one in await cluster_on(shelf).every(BINDING, "beta")] == ["beta"]


async def test_what_another_version_wrote_is_named_and_left_out(run: Run) -> None:
    shelf = Shelf.of(ended())
    (path,) = (path for path in shelf.texts if path.endswith("/beta/adapterbindings/classifier"))
    shelf.texts[path] = shelf.texts[path].replace('"Accuracy"', '"Elegance"')
    cluster = cluster_on(shelf)
    assert len(await cluster.every(BINDING)) == 2
    (problem,) = cluster.unreadable
    assert problem.startswith("AdapterBinding beta/classifier cannot be read by this version: ")
    assert "metric" in problem


FAULTS = {
    "no answer": (TemporaryError("ClientConnectorError: refused"), "no answer from the cluster of context test"),
    "no rights": (
        ForbiddenError('User "eve" cannot list resource "basemodelreleases"', status=403),
        (
            "the right to list basemodelreleases.relora.dev in the whole cluster is missing; "
            "the chart's ClusterRole relora-operator-release-view grants it"
        ),
    ),
    "no kinds": (NotFoundError("404 page not found", status=404), "has no basemodelreleases.relora.dev: install"),
    "no login": (TemporaryError("Unauthorized", status=401), "does not accept the credentials of context test"),
}


@pytest.mark.parametrize(("fault", "told"), FAULTS.values(), ids=FAULTS)
def test_a_cluster_that_cannot_be_asked_ends_with_3_and_one_line(run: Run, fault: KubeError, told: str) -> None:
    shelf = Shelf.of(ended())
    shelf.failures["GET", "basemodelreleases"] = fault
    code, out, err = run(shelf, "status")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("error: ")
    assert told in err


class Listed(Shelf):
    """Tells which pages were asked for."""

    def __init__(self, shelf: Shelf, steps: list[str]) -> None:
        super().__init__(texts=shelf.texts, page_limit=1)
        self.steps = steps

    def _page(self, resource: ResourceType, path: str, query: Mapping[str, str]) -> JsonObject:
        self.steps.append("asked")
        return super()._page(resource, path, query)


async def test_the_api_server_makes_a_page_while_the_one_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def use(model: type[AdapterBinding], raw: JsonObject) -> AdapterBinding:
        steps.append("used")
        return parse_own(model, raw)

    monkeypatch.setattr("relora_kubectl.cluster.parse_own", use)
    await cluster_on(Listed(Shelf.of(ended()), steps)).every(BINDING)
    assert steps == ["asked", "asked", "used", "asked", "used", "used"]


class Forgetful(Shelf):
    """Forgets the moment of each of the first lists before their second page, or fails there in another way."""

    forgotten = 1
    fault: KubeError = ExpiredError("the list is too old", status=410)

    def _page(self, resource: ResourceType, path: str, query: Mapping[str, str]) -> JsonObject:
        if "continue" in query and self.forgotten:
            self.forgotten -= 1
            raise self.fault
        return super()._page(resource, path, query)


async def test_a_list_that_the_server_forgot_is_begun_again_once() -> None:
    shelf = Forgetful(texts=Shelf.of(ended()).texts, page_limit=1)
    assert len(await cluster_on(shelf).every(BINDING)) == 3
    shelf.forgotten = 2
    with pytest.raises(PluginError, match="too old") as caught:
        await cluster_on(shelf).every(BINDING)
    assert caught.value.code is ExitCode.UNREACHABLE


async def test_another_fault_of_the_server_is_told_at_once() -> None:
    shelf = Forgetful(texts=Shelf.of(ended()).texts, page_limit=1)
    shelf.fault = TemporaryError("etcd is down", status=500)
    with pytest.raises(PluginError, match="etcd is down"):
        await cluster_on(shelf).every(BINDING)
    assert shelf.forgotten == 0

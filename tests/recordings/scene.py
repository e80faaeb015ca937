"""A small fleet of six tenants on a real API server, with the operator, and a kubelet whose steps take seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.api import Api, Document, condition, eventually
from controller.fleet import deployment
from controller.kubelet import FakeKubelet, digest_of, passes_at
from controller.replica import Replica
from controller.rights import install_rights
from devcluster.controlplane import ControlPlane
from devcluster.crds import install_crds
from devcluster.progress import Report
from samples.kinds import binding, digest, profile, release, server

MODEL = "smollm2-135m"
TENANTS = ("billing", "docs", "legal", "sales", "search", "support")
ADAPTERS = (
    *("actions", "entities", "intents", "language", "replies"),
    *("routing", "sentiment", "topics", "toxicity", "urgency"),
)
CANARIES = "support"
"""The tenant whose server is a canary."""
FAILING = ("billing/toxicity", "legal/entities")
"""Whose gate fails in every step for the release that is recorded."""
_CRDS = Path(__file__).parents[2] / "crds"
_PASSES_AT = {"entities": "recover", "replies": "fuse", "topics": "fuse", "toxicity": "recover"}
"""The first step whose gate passes; `port` where none is named."""
_SECONDS = {"delta": 3.0, "port": 2.0, "fuse": 3.0, "recover": 4.0, "refine": 4.0}
_OPERATOR_OPTIONS = ("--lease-duration-seconds", "60")
"""On a busy machine a shorter Lease is lost, and nothing restarts the operator here."""
_LIMIT_SECONDS = 900
_BINDING_FIELDS = frozenset({"model", "source", "task", "quality", "serverRef"})
"""What a tenant would write; every other field keeps its default."""


class Scene:
    """The fleet on its first release, with what goes on around it.

    Attributes:
        kubeconfig: The administrator's.
        kubectl: The program.
        api: A client with the administrator's rights.
    """

    def __init__(self, plane: ControlPlane, kubelet: FakeKubelet, api: Api) -> None:
        self.kubeconfig = plane.kubeconfig
        self.kubectl = plane._programs["kubectl"]
        self.api = api
        self._kubelet = kubelet

    def populate(self) -> None:
        """Create the fleet on its first release, and wait until it is served."""
        self.api.create(
            profile("default", scheduling={}, serviceAccountName="default", allowedNamespaces=_ALL, resources={})
        )
        self.api.create(new_release(1))
        for tenant in TENANTS:
            self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}})
            self.api.create(deployment("vllm", tenant))
            self.api.create(_server(tenant))
            for adapter in ADAPTERS:
                self.api.create(_binding(tenant, adapter))
        eventually(lambda: self._all_on(1), "the first release is served", _LIMIT_SECONDS)

    def pass_over(self) -> None:
        """Carry the whole fleet to the second release, so that there are times to estimate from."""
        self.api.create(new_release(2))
        eventually(lambda: self._all_on(2), "the second release is served", _LIMIT_SECONDS)

    def apply_third(self) -> None:
        """Apply the release that is recorded; the gates of two adapters fail."""
        self._kubelet.ending = _some_fail
        self.api.create(new_release(3))

    def _all_on(self, number: int) -> bool:
        found = self.api.everywhere("AdapterBinding")
        return all(
            one["status"]["current"]["releaseName"] == release_name(number)
            and condition(one, "UpToDate").get("status") == "True"
            for one in found
        )


@contextmanager
def scene(folder: Path, report: Report) -> Iterator[Scene]:
    """Yield the fleet, yet to be created. `folder` takes the operator's log."""
    with ControlPlane(report=report) as plane:
        install_crds(plane, _CRDS)
        operator = Replica(install_rights(plane, folder), folder / "operator.log", *_OPERATOR_OPTIONS)
        api = Api(plane.kubeconfig)
        try:
            with FakeKubelet(plane.kubeconfig) as kubelet:
                kubelet.ending, kubelet.lasting = _as_always, _lasting
                operator.await_lead()
                yield Scene(plane, kubelet, api)
        finally:
            operator.stop()
            api.close()


_ALL: Document = {"selector": {}}


def release_name(number: int) -> str:
    """Return the name of the `number`-th release, counted from 1."""
    return f"{MODEL}-r{number}"


def new_release(number: int) -> Document:
    """Return a release as its author writes it."""
    name = release_name(number)
    document = release(
        name,
        model=MODEL,
        version=f"2026.{9 + number}",
        supersedes=release_name(number - 1),
        weights={"uri": f"s3://models/{name}", "digest": digest(name)},
        profileRef={"name": "default"},
        rollout={
            "maxRunningJobs": 12,
            "maxRunningJobsPerNamespace": 4,
            "canary": {"selector": {"matchLabels": {"relora.dev/canary": "true"}}},
            "failureBudget": {"maxFailed": "20%"},
        },
    )
    del document["spec"]["allowedNamespaces"], document["spec"]["suspend"]
    if number == 1:
        del document["spec"]["supersedes"]
    return document


def _server(tenant: str) -> Document:
    document = server("vllm", tenant, model=MODEL, initialReleaseName=release_name(1), allowedBindings={"from": "Same"})
    document["spec"]["maxAdapters"] = 16
    if tenant == CANARIES:
        document["metadata"]["labels"] = {"relora.dev/canary": "true"}
    return document


def _binding(tenant: str, adapter: str) -> Document:
    data = {
        part: {"uri": f"s3://data/{tenant}/{adapter}/{part}.jsonl", "digest": digest(f"{tenant} {adapter} {part}")}
        for part in ("train", "validation", "test")
    }
    source = {
        "releaseName": release_name(1),
        "uri": f"s3://adapters/{tenant}/{adapter}/v1",
        "digest": digest(f"{tenant} {adapter}"),
    }
    document = binding(adapter, tenant, model=MODEL, source=source, serverRef={"name": "vllm"})
    document["spec"]["task"]["dataset"] = data
    document["spec"] = {name: value for name, value in document["spec"].items() if name in _BINDING_FIELDS}
    return document


def _whose(request: Document) -> str:
    """Return `<namespace>/<name>` of the binding that a request is for, as the place of its data tells."""
    place: str = request["items"][0]["dataset"]["train"]["uri"]
    tenant, adapter = place.removeprefix("s3://data/").split("/")[:2]
    return f"{tenant}/{adapter}"


def _lasting(step: str, request: Document) -> float:
    """Return how long a step runs: what a passed gate leaves over ends at once."""
    if step == "delta":
        return _SECONDS[step]
    _, notification = _as_always(step, request)
    if notification["outcome"] == "Skipped":
        return 0.0
    varied = int(digest_of(request)[-2:], 16) / 255
    return _SECONDS[step] * (0.75 + varied / 2)


def _as_always(step: str, request: Document) -> tuple[int, Document]:
    """Let each adapter pass at its step."""
    if step == "delta":
        return passes_at("port")(step, request)
    adapter = _whose(request).partition("/")[2]
    return passes_at(_PASSES_AT.get(adapter, "port"))(step, request)


def _some_fail(step: str, request: Document) -> tuple[int, Document]:
    """Let the gates of some fail at every step."""
    if step == "delta" or _whose(request) not in FAILING:
        return _as_always(step, request)
    code, notification = passes_at("refine")(step, request)
    quality = [{"metric": "Accuracy", "value": "0.74", "count": 100}]
    return code, {**notification, "verdict": "Failed", "quality": quality}

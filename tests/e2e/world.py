"""The world of the scenarios: one cluster, one operator, one store; and each scenario's own part of it."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from e2e import facts, manifests
from e2e.bucket import Bucket
from e2e.chronicle import Chronicle, DeadlineError
from e2e.clusterapi import ClusterApi, Json, Ref
from e2e.operatorpods import OperatorPods
from e2e.shelf import Shelf, Work
from e2e.traffic_pod import traffic_pod
from relora_contract.artifacts import ArtifactRef

GATES: tuple[Json, ...] = ({"metric": "Accuracy", "threshold": "0.9", "maxRegression": "0.05"},)
MILD_GATES: tuple[Json, ...] = ({"metric": "Accuracy", "threshold": "0.5"},)
PORT_ONLY: Json = {"strategy": "PortLLM"}
RELORA: Json = {
    "search": {"budget": 4, "validationSamples": 64},
    "tuning": {"epochs": 2, "recoverFraction": "0.5", "batchSize": 32, "learningRate": "5e-3"},
}
ALL_STEPS: Json = {**RELORA, "refine": "Always"}
STEPS = ("port", "fuse", "recover", "refine")
WORKLOAD = "engine"
SERVER = "server"
TRAFFIC = "traffic"
MOST_REQUESTS = 10_000
REQUESTS_IN_A_ROW = 12

ADAPTED_SECONDS = 600.0

T = TypeVar("T")


@dataclass(frozen=True)
class Credentials:
    """The keys of the store, and where pods find it."""

    access_key: str
    secret_key: str
    endpoint: str


@dataclass(frozen=True)
class World:
    """What all scenarios share."""

    kubeconfig: Path
    chronicle: Chronicle
    bucket: Bucket
    shelf: Shelf
    credentials: Credentials
    operator: OperatorPods
    operator_image: str
    kubectl: Callable[..., str]
    run: str
    """Tells the objects of this session from those of an earlier one on the same node."""

    def stage(self, name: str) -> "Stage":
        """Return a part of the world in which a scenario is alone."""
        return Stage(self, f"{name}-{self.run}")


@dataclass
class Stage:
    """One scenario's model family, releases and namespaces, all named after it."""

    world: World
    name: str
    namespaces: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = ClusterApi(self.world.kubeconfig)
        self.model = self.name
        self.r1 = f"{self.name}-r1"
        self.r2 = f"{self.name}-r2"

    def clear(self) -> None:
        """Delete everything; the others go on with a lighter node. A failed scenario leaves its objects to look at."""
        for namespace in self.namespaces:
            self.api.delete(Ref("Namespace", "", namespace))
        for release in self.releases:
            self.api.delete(Ref("BaseModelRelease", "", release))

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    def add_namespace(self, suffix: str = "") -> str:
        """Make a namespace with the store's Secret, and return its name."""
        name = f"{self.name}-{suffix}" if suffix else self.name
        keys = self.world.credentials
        self.api.apply(manifests.namespace(name, {"e2e-stage": self.name}))
        self.api.apply(manifests.store_secret(name, keys.access_key, keys.secret_key), manifests.server_script(name))
        self.namespaces.append(name)
        return name

    def apply_release(self, name: str, weights: ArtifactRef, *, supersedes: str | None = None, **spec: object) -> Ref:
        """Apply a release of the scenario's family."""
        self.api.apply(manifests.release(name, self.model, weights, supersedes=supersedes, **spec))
        self.releases.append(name)
        return Ref("BaseModelRelease", "", name)

    def apply_first_release(self) -> Ref:
        """Apply the release that every adapter was made for."""
        return self.apply_release(self.r1, self.world.shelf.base_r1)

    def apply_second_release(self, **spec: object) -> Ref:
        """Apply the release to which adapters are carried."""
        return self.apply_release(self.r2, self.world.shelf.base_r2, supersedes=self.r1, **spec)

    def apply_binding(
        self,
        name: str,
        namespace: str,
        *,
        work: Work | None = None,
        gates: Sequence[Json] = GATES,
        readaptation: Json = PORT_ONLY,
        adapter: ArtifactRef | None = None,
        data: Mapping[str, ArtifactRef] | None = None,
        server: tuple[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Ref:
        """Apply a binding; by default of an adapter that the second release leaves as it is, and ported only."""
        chosen = work or self.world.shelf.mood
        manifest = manifests.binding(
            name,
            namespace,
            model=self.model,
            source_release=self.r1,
            adapter=adapter or chosen.adapter,
            task=manifests.Task(**{**vars(chosen.task), **(data or {})}),
            gates=gates,
            readaptation=readaptation,
            server=server,
            labels=labels or {},
        )
        self.api.apply(manifest)
        return Ref("AdapterBinding", namespace, name)

    def apply_server(self, namespace: str, *, refused_release: str = "", drain_seconds: int = 0, **spec: object) -> Ref:
        """Apply a server with its workload, which serves the first release."""
        self.apply_workload(
            WORKLOAD, namespace, consent=SERVER, refused_release=refused_release, drain_seconds=drain_seconds
        )
        self.api.apply(
            manifests.server(SERVER, namespace, model=self.model, initial_release=self.r1, target=WORKLOAD, **spec)
        )
        return Ref("AdapterServer", namespace, SERVER)

    def apply_second_server(self, name: str, namespace: str, *, target: str) -> Ref:
        """Apply a server for a workload that is there already."""
        self.api.apply(manifests.server(name, namespace, model=self.model, initial_release=self.r1, target=target))
        return Ref("AdapterServer", namespace, name)

    def apply_workload(
        self, name: str, namespace: str, *, consent: str | None, refused_release: str = "", drain_seconds: int = 0
    ) -> Ref:
        """Apply a serving Deployment."""
        self.api.apply(
            manifests.workload(
                name,
                namespace,
                image=self.world.operator_image,
                endpoint=self.world.credentials.endpoint,
                consent=consent,
                refused_release=refused_release,
                drain_seconds=drain_seconds,
            )
        )
        return Ref("Deployment", namespace, name)

    def apply_traffic(self, namespace: str, served_name: str) -> None:
        """Let requests for an adapter go through a Service to the workload, from now on."""
        self.api.apply(manifests.service(WORKLOAD, namespace))
        url = f"http://{WORKLOAD}.{namespace}.svc:{manifests.SERVER_PORT}"
        image, prompts = self.world.operator_image, {served_name: "which release?"}
        self.api.apply(*traffic_pod(TRAFFIC, namespace, image=image, url=url, prompts=prompts))

    def requests(self, namespace: str) -> list[Json]:
        """Return every request of the traffic in a namespace, each with what became of it."""
        lines = self.api.log_tail(Ref("Pod", namespace, TRAFFIC), TRAFFIC, MOST_REQUESTS).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def await_answers(self, namespace: str, release: str) -> None:
        """Wait until the last requests in a row were answered from a release."""
        deadline = time.monotonic() + ADAPTED_SECONDS
        wanted = [release] * REQUESTS_IN_A_ROW
        while (last := [one.get("answer") for one in self.requests(namespace)[-REQUESTS_IN_A_ROW:]]) != wanted:
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"not within {ADAPTED_SECONDS:.0f} s: answers in {namespace} from {release}, not {last}"
                )
            time.sleep(1)

    def wait(self, what: str, probe: Callable[[], T | None], *, seconds: float = ADAPTED_SECONDS) -> T:
        """Wait until a probe of the chronicle finds something, and return it."""
        return self.world.chronicle.wait(what, probe, seconds=seconds)

    def await_condition(
        self, ref: Ref, kind: str, status: str, reason: str | None = None, *, seconds: float = ADAPTED_SECONDS
    ) -> Json:
        """Wait until a condition of an object has a status, and a reason if one is given; return the object."""

        def probe() -> Json | None:
            thing = self.world.chronicle.current(ref)
            found = facts.condition(thing, kind)
            fits = found is not None and found[0] == status and reason in {None, found[1]}
            return thing if fits else None

        return self.wait(f"{ref} has {kind}={status} {reason or ''}", probe, seconds=seconds)

    def await_served(self, server: Ref, release: str, adapters: int) -> Json:
        """Wait until a server serves so many adapters on a release, all of its pods rolled out."""

        def probe() -> Json | None:
            thing = self.world.chronicle.current(server)
            current = (thing or {}).get("status", {}).get("current") or {}
            served = (current.get("releaseName"), current.get("adapters")) == (release, adapters)
            return thing if served and facts.condition(thing, "Ready") == ("True", "Promoted") else None

        return self.wait(f"{server} serves {adapters} adapters on {release}", probe, seconds=ADAPTED_SECONDS)

    def await_blockers(self, server: Ref, reasons: Mapping[str, str]) -> Json:
        """Wait until a server names just these members as its blockers, each with its reason."""

        def probe() -> Json | None:
            thing = self.world.chronicle.current(server)
            blockers = (thing or {}).get("status", {}).get("blockers", [])
            return thing if {each["name"]: each["reason"] for each in blockers} == reasons else None

        return self.wait(f"{server} has the blockers {dict(reasons)}", probe)

    def await_settled(self, server: Ref, binding: Ref) -> None:
        """Wait until the best adapter of a binding is the one that its server serves, rolled out to the last pod."""

        def probe() -> bool | None:
            workload = self.world.chronicle.current(Ref("Deployment", server.namespace, WORKLOAD))
            carried = facts.serving_set(workload)
            current = (self.current(server)["status"].get("current") or {}).get("setDigest")
            status = self.current(binding)["status"]
            best = status["candidate"]["adapter"]["digest"]
            served = [adapter.digest for adapter in carried.adapters] if carried else []
            seated = status["current"]["adapter"]["digest"]
            settled = carried is not None and carried.digest == current and served == [best] == [seated]
            return True if settled and facts.available(workload) else None

        self.wait(f"{server} serves the best adapter of {binding}", probe)

    def await_container(self, namespace: str, job_kind: str, container: str, state: str) -> Json:
        """Wait until a container of a Job's pod is `running`, or has been, or is `terminated`; return the pod."""
        wanted = {state, "terminated"}

        def probe() -> Json | None:
            pods = facts.jobs_of_kind(self.world.chronicle.alive("Pod", namespace), job_kind)
            return next((pod for pod in pods if wanted & facts.container_states(pod).get(container, {}).keys()), None)

        return self.wait(f"container {container} of a {job_kind} pod in {namespace} is {state}", probe)

    def await_finished(self, binding: Ref, steps: int) -> Json:
        """Wait until so many steps of a binding's candidate are recorded as finished, and return the binding."""

        def probe() -> Json | None:
            thing = self.world.chronicle.current(binding)
            candidate = (thing or {}).get("status", {}).get("candidate", {})
            finished = [step for step in candidate.get("steps", []) if step["state"] == "Finished"]
            return thing if len(finished) == steps else None

        return self.wait(f"{steps} steps of {binding} to be finished", probe)

    def current(self, ref: Ref) -> Json:
        """Return an object as it is now."""
        thing = self.world.chronicle.current(ref)
        assert thing is not None, f"{ref} does not exist"
        return thing

    def sets(self, namespace: str, workload: str = WORKLOAD) -> list[tuple[str, list[str]]]:
        """Return release and served names of every serving set that a workload ever carried, in order."""
        history = self.world.chronicle.history(Ref("Deployment", namespace, workload))
        return facts.shape(facts.sets_over_time(history))

    def jobs_ever(self, namespace: str, kind: str) -> list[Json]:
        """Return every Job of a kind that ever was in a namespace."""
        return facts.jobs_of_kind(self.world.chronicle.ever("Job", namespace).values(), kind)

    def pods_of_jobs(self, namespace: str, *, ever: bool = True) -> list[Json]:
        """Return the pods of re-adaptation Jobs in a namespace: all that ever were, or those that are there now."""
        chronicle = self.world.chronicle
        pods = chronicle.ever("Pod", namespace).values() if ever else chronicle.alive("Pod", namespace)
        return facts.jobs_of_kind(pods, "readaptation")

    def serving_pods(self, namespace: str, workload: str = WORKLOAD) -> list[Json]:
        """Return the ready pods of a workload."""
        pods = self.world.chronicle.alive("Pod", namespace)
        return [pod for pod in pods if pod["metadata"].get("labels", {}).get("app") == workload and facts.ready(pod)]

    def store_uri(self, namespace: str) -> str:
        """Return the root of the store of a namespace's Jobs."""
        return f"s3://adapters/{namespace}"

    def served_by_pods(self, namespace: str, workload: str = WORKLOAD) -> list[Json]:
        """Ask every ready pod of a workload what it serves."""
        answers = [
            self.api.ask_pod(Ref.of("Pod", pod), manifests.SERVER_PORT, "/served")
            for pod in self.serving_pods(namespace, workload)
        ]
        return [json.loads(answer) for answer in answers]

    def diagnosis(self) -> str:
        """Describe the scenario's objects: statuses, events, pods and the last lines of their logs."""
        from e2e.diagnosis import describe  # noqa: PLC0415 - it reads this class

        return describe(self)

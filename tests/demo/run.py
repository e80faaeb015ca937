"""The demonstration, stage by stage."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live

from demo import places, scene
from demo.requests_log import RequestsLog
from demo.stages import Stages
from demo.summary import plot_requests, print_summary
from demo.table import Row, World, changed, condition, draw, rows_of
from devcluster.baseimages import torch_base
from devcluster.images import ImageStore
from devcluster.node import Node
from devcluster.paths import default_state
from devcluster.projectimages import ProjectImages, Recipe, project_images, provide
from e2e.bucket import Bucket, folder
from e2e.operatorinstall import install
from realdata import products
from realdata.cache import Product, obtain
from realdata.cache import cache_root as data_root

Json = dict[str, Any]
SERVED_SECONDS = 900.0
RELEASE_SECONDS = 1500.0
POLL_SECONDS = 2.0
ADAPTERS = "s3://adapters"


@dataclass(frozen=True)
class Chosen:
    """The real adapter and task behind an example binding."""

    adapter: Product
    task: Product
    served_name: str
    gates: list[Json]
    readaptation: Json


BOUND: Mapping[str, Chosen] = {
    "review-sentiment": Chosen(
        adapter=products.ADAPTER_SENTIMENT,
        task=products.TASK_SENTIMENT,
        served_name="review-sentiment",
        gates=[{"metric": "Accuracy", "maxRegression": "0.06"}],
        readaptation={"search": {"budget": 8, "validationSamples": 256}, "tuning": {"epochs": 1}},
    ),
}


class DemoError(Exception):
    """The demonstration did not reach its end; the message says where it stood."""


class Demo:
    """One run, on the demonstration's cluster."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stages = Stages(console)
        self.node = Node(default_state(node=True), self.stages.report, outlive=True)
        self.images = ImageStore(self.stages.report)

    def run(self) -> bool:
        """Run all of it. Return whether every request was answered and every adapter reached r2."""
        self._prepare()
        with self.stages.stage("starting the cluster"):
            if not self.node.running():
                self.node.start()
        endpoints = self.node.endpoints()
        with self.stages.stage("building and pushing the images"):
            built = project_images(self.images, places.REPOSITORY, endpoints.registry, self.stages.report)
            engine = self._engine_image(endpoints.registry)
        with self.stages.stage("uploading weights, adapters and data"):
            bucket = Bucket(endpoints.s3, endpoints.s3_access_key, endpoints.s3_secret_key)
            values = self._values(bucket, built, engine)
        with self.stages.stage("installing the operator with Helm"):
            install(self.node, built.operator, self.stages.report)
        with self.stages.stage(f"serving {places.R1} with its adapters"):
            for name in places.FIRST_EXAMPLES:
                self._apply(scene.example(name, values))
            self._wait("the server serves r1", self._serves(places.R1, len(values.bound)), SERVED_SECONDS)
        self._apply(scene.traffic(values, self._prompts(values)))
        self._wait_ready_pod(places.TRAFFIC)
        log = RequestsLog(self.node)
        try:
            self._release(values, log)
            self._prove()
            # A few more requests, all of them answered by the new set.
            time.sleep(3 * POLL_SECONDS)
        finally:
            log.close()
            # The cluster stays up to be looked at; who looks needs no load on the machine.
            self.node.kubectl("delete", "pod", places.TRAFFIC, "--namespace", places.SERVING_NAMESPACE, "--wait=false")
        return self._conclude(bucket, log)

    def _prepare(self) -> None:
        """Build what the machine lacks: programs, weights and adapters, the base of the images."""
        with self.stages.stage("preparing programs, weights and images"), ThreadPoolExecutor(3) as pool:
            parts: list[Future[object]] = [
                pool.submit(lambda: self.node.programs),
                pool.submit(self._obtain_products),
                pool.submit(self._torch_base),
            ]
            for part in as_completed(parts):
                if error := part.exception():
                    self.stages.report(f"[red]failed:[/] {error}; the other parts end first: what they make is kept")
            for part in parts:
                part.result()

    def _torch_base(self) -> str:
        return torch_base(self.images, places.REPOSITORY / "locks" / "trainer.txt", self.stages.report)

    def _obtain_products(self) -> None:
        for product in (products.BASE_R1, products.BASE_R2):
            obtain(product, data_root())
        for one in BOUND.values():
            obtain(one.task, data_root())
            obtain(one.adapter, data_root())

    def _engine_image(self, registry: str) -> str:
        recipe = Recipe(
            name="vllm",
            dockerfile="tests/demo/vllm/Dockerfile",
            inputs=("tests/demo/vllm",),
            base=self._torch_base(),
        )
        return provide(recipe, self.images, places.REPOSITORY, registry)

    def _values(self, bucket: Bucket, built: ProjectImages, engine: str) -> scene.Values:
        endpoints = self.node.endpoints()
        bucket.make("models", "adapters")
        root = data_root()
        weights = {
            name: bucket.put_folder(f"s3://models/{name}", folder(obtain(product, root)))
            for name, product in ((places.R1, products.BASE_R1), (places.R2, products.BASE_R2))
        }
        bound = {
            name: self._bound(bucket, name, obtain(one.adapter, root), obtain(one.task, root), one)
            for name, one in BOUND.items()
        }
        return scene.Values(
            operator_image=built.operator,
            trainer_image=built.trainer,
            engine_image=engine,
            endpoint=endpoints.s3_in_cluster,
            access_key=endpoints.s3_access_key,
            secret_key=endpoints.s3_secret_key,
            weights=weights,
            bound=bound,
        )

    @staticmethod
    def _bound(bucket: Bucket, name: str, adapter: Path, task: Path, chosen: Chosen) -> scene.BoundAdapter:
        files = {part: (task / f"{part}.jsonl").read_bytes() for part in ("train", "validation", "test")}
        return scene.BoundAdapter(
            adapter=bucket.put_folder(f"{ADAPTERS}/sources/{name}", folder(adapter)),
            task=json.loads((task / "task.json").read_text()),
            data={
                part: bucket.put_file(f"{ADAPTERS}/data/{name}/{part}.jsonl", content)
                for part, content in files.items()
            },
            gates=chosen.gates,
            readaptation=chosen.readaptation,
        )

    def _apply(self, documents: list[Json]) -> None:
        if documents:
            self.node.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents))

    def _prompts(self, values: scene.Values) -> dict[str, str]:
        """Return what the traffic asks each served adapter: an example of its test set, as a client would."""
        prompts = {}
        for name, one in BOUND.items():
            first = (obtain(one.task, data_root()) / "test.jsonl").read_text().splitlines()[0]
            fields = json.loads(first)
            prompts[one.served_name] = values.bound[name].task["promptTemplate"].format(**fields)
        return prompts

    def _serves(self, release: str, adapters: int) -> Callable[[], bool]:
        def probe() -> bool:
            server = World.read(self.node).servers.get(places.SERVER, {})
            current = server.get("status", {}).get("current") or {}
            return (current.get("releaseName"), current.get("adapters")) == (release, adapters)

        return probe

    def _wait(self, what: str, probe: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not probe():
            if time.monotonic() > deadline:
                raise DemoError(f"after {seconds:.0f} s still waiting: {what}\n{self._diagnosis()}")
            time.sleep(POLL_SECONDS)

    def _wait_ready_pod(self, name: str) -> None:
        arguments = ("--for=condition=Ready", "--timeout=120s", "--namespace", places.SERVING_NAMESPACE)
        self.node.kubectl("wait", f"pod/{name}", *arguments)

    def _release(self, values: scene.Values, log: RequestsLog) -> None:
        """Apply r2 and watch it arrive."""
        with self.stages.stage(f"applying {places.R2}: re-adaptation and roll-out"):
            self._apply(scene.example(places.NEW_RELEASE, values))
            deadline = time.monotonic() + RELEASE_SECONDS
            world = World.read(self.node)
            with self._showing() as show:
                while not _settled(world):
                    if time.monotonic() > deadline:
                        raise DemoError(f"{places.R2} did not settle in {RELEASE_SECONDS:.0f} s\n{self._diagnosis()}")
                    time.sleep(POLL_SECONDS)
                    world = World.read(self.node)
                    show(list(rows_of(world, log.requests())))

    @contextmanager
    def _showing(self) -> Iterator[Callable[[list[Row]], None]]:
        """Yield what shows the rows: a table that is drawn anew, or without a terminal a line for each new state."""
        if self.console.is_terminal:
            with Live(console=self.console, refresh_per_second=1) as live:
                yield lambda rows: live.update(draw(rows, self.stages.elapsed()))
            return
        shown: list[Row] = []

        def tell(rows: list[Row]) -> None:
            for row in changed(shown, rows):
                self.stages.report(f"{row.what.strip()}: {row.state}  {row.details}")
            shown[:] = rows

        yield tell

    def _prove(self) -> None:
        """Ask the serving pod itself for the adapters' fingerprints."""
        with self.stages.stage("comparing the served adapters with their fingerprints"):
            answer = self.node.kubectl(
                *("exec", f"deployment/{places.WORKLOAD}", "--namespace", places.SERVING_NAMESPACE),
                *("--container", "vllm", "--", "python3", "/relora/probe.py", "--url", "http://127.0.0.1:8000"),
            )
            self.stages.report(answer.strip())

    def _conclude(self, bucket: Bucket, log: RequestsLog) -> bool:
        world, requests = World.read(self.node), log.requests()
        reports = {name: _reports(bucket, binding) for name, binding in world.bindings.items()}
        self.console.print(self.node.kubectl("get", "bmr,adb,ads", "--all-namespaces"), highlight=False)
        print_summary(self.console, world, reports, requests)
        written = [plot_requests(requests, places.RESULTS / "requests.png")]
        for name, binding in world.bindings.items():
            for suffix, content in _pages(bucket, binding).items():
                written.append(places.RESULTS / f"{name}{suffix}")
                written[-1].write_bytes(content)
        for path in written:
            self.console.print(f"see {path.relative_to(places.REPOSITORY)}")
        arrived = all(binding["status"]["current"]["releaseName"] == places.R2 for binding in world.bindings.values())
        return arrived and bool(requests) and all(request.ok for request in requests)

    def _diagnosis(self) -> str:
        table = self.node.kubectl("get", "bmr,adb,ads,pods", "--all-namespaces")
        told = [
            f"{name}: {condition(binding, 'UpToDate').get('message', '')}"
            for name, binding in World.read(self.node).bindings.items()
        ]
        return "\n".join([table, *told])


def _settled(world: World) -> bool:
    release = world.releases.get(places.R2, {})
    return condition(release, "Complete").get("status") == "True"


def _reports(bucket: Bucket, binding: Json) -> dict[str, Json]:
    """Return the stored reports of the binding's re-adaptation by step."""
    found = bucket.reports(_store(binding))
    return {key.rpartition("/")[2]: report for key, report in found.items() if key.startswith(_digest(binding))}


def _pages(bucket: Bucket, binding: Json) -> dict[str, bytes]:
    """Return the page of the binding's re-adaptation and its picture, by the ends of their names."""
    keys = [key for key in bucket.keys(_store(binding)) if key.startswith(f"reports/{_digest(binding)}/")]
    pages = [key for key in keys if key.endswith((".html", ".png"))]
    return {Path(key).suffix: bucket.read(f"{_store(binding)}/{key}") for key in pages}


def _store(binding: Json) -> str:
    return f"{ADAPTERS}/{binding['metadata']['namespace']}"


def _digest(binding: Json) -> str:
    candidate = binding["status"].get("candidate") or {}
    return str(candidate.get("requestDigest", "")).removeprefix("sha256:")


def remove(console: Console) -> None:
    """Remove the demonstration's cluster; what was built stays in the cache."""
    node = Node(default_state(node=True), Stages(console).report)
    node.stop()
    console.print("removed; what was built stays in the cache and makes the next run short")

"""The examples with real values: what a user copies, with this cluster's images, places and digests."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo import places
from e2e.traffic_pod import traffic_pod
from relora_contract.artifacts import ArtifactRef

Json = dict[str, Any]

CPU_ENGINE = (
    *("--enforce-eager", "--max-model-len", "256", "--max-num-seqs", "4"),
    *("--distributed-executor-backend", "uni", "--kv-cache-memory-bytes", "134217728"),
)
CPU_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # Compiling the log-probabilities needs a C++ compiler, which the image has not.
    "TORCHDYNAMO_DISABLE": "1",
}
TRAINER_RESOURCES: Json = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}}
ENGINE_RESOURCES: Json = {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "6Gi"}}


@dataclass(frozen=True)
class BoundAdapter:
    """What one example binding is bound to.

    Attributes:
        adapter: The adapter made for r1.
        task: `task.json` of the data: prompt template, field, choices.
        data: The three files.
        gates: The quality gate.
        readaptation: How it is carried over.
    """

    adapter: ArtifactRef
    task: Json
    data: Mapping[str, ArtifactRef]
    gates: list[Json]
    readaptation: Json


@dataclass(frozen=True)
class Values:
    """This cluster's values for the examples' placeholders."""

    operator_image: str
    trainer_image: str
    engine_image: str
    endpoint: str
    access_key: str
    secret_key: str
    weights: Mapping[str, ArtifactRef]
    bound: Mapping[str, BoundAdapter]


def example(name: str, values: Values) -> list[Json]:
    """Return the documents of one example file with real values."""
    return list(_filled(places.EXAMPLES / f"{name}.yaml", values))


def _filled(path: Path, values: Values) -> Iterator[Json]:
    for document in yaml.safe_load_all(path.read_text()):
        name = document["metadata"]["name"]
        match document["kind"]:
            case "Secret":
                document["stringData"] = {
                    "AWS_ACCESS_KEY_ID": values.access_key,
                    "AWS_SECRET_ACCESS_KEY": values.secret_key,
                }
            case "TrainerProfile":
                spec = document["spec"]
                spec["image"] = values.trainer_image
                spec["store"]["endpoint"] = values.endpoint
                spec["resources"] = TRAINER_RESOURCES
                spec.pop("scheduling", None)
            case "BaseModelRelease":
                document["spec"]["weights"] = values.weights[name].to_json()
                document["spec"]["rollout"] = {"maxRunningJobs": 1}
            case "Deployment":
                _fill_workload(document, values)
            case "Service":
                document["spec"] |= {"type": "NodePort"}
                document["spec"]["ports"][0]["nodePort"] = places.NODE_PORT
            case "AdapterBinding" if name in values.bound:
                _fill_binding(document["spec"], values.bound[name])
            case "AdapterBinding":
                continue
            case _:
                pass
        yield document


def _fill_workload(document: Json, values: Values) -> None:
    pod = document["spec"]["template"]["spec"]
    (fetch,) = pod["initContainers"]
    (engine,) = pod["containers"]
    fetch["image"] = values.operator_image
    fetch["env"] = [{"name": "AWS_ENDPOINT_URL", "value": values.endpoint}]
    engine["image"] = values.engine_image
    engine["args"] += list(CPU_ENGINE)
    engine["env"] += [{"name": name, "value": value} for name, value in CPU_ENVIRONMENT.items()]
    engine["resources"] = ENGINE_RESOURCES


def _fill_binding(spec: Json, bound: BoundAdapter) -> None:
    spec["source"] |= bound.adapter.to_json()
    spec["task"] = {**bound.task, "dataset": {part: ref.to_json() for part, ref in bound.data.items()}}
    spec["quality"] = {"gates": bound.gates}
    spec["readaptation"] = bound.readaptation


def traffic(values: Values, prompts: Mapping[str, str]) -> list[Json]:
    """Return the pod that asks every served adapter, all the time."""
    namespace = places.SERVING_NAMESPACE
    url = f"http://{places.WORKLOAD}.{namespace}.svc"
    return traffic_pod(places.TRAFFIC, namespace, image=values.operator_image, url=url, prompts=prompts)

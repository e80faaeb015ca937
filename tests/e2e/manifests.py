"""The manifests that scenarios apply. They are what users write, with tiny models and short deadlines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.clusterapi import Json
from relora_contract.artifacts import ArtifactRef
from relora_contract.wellknown import (
    ANNOTATION_SERVING_SET,
    API_VERSION,
    LABEL_ADAPTER_SERVER,
    SERVING_DIRECTORY,
    SERVING_SET_PATH,
)

STORE_SECRET = "relora-store"  # noqa: S105 - the name of a Secret
PROFILE = "e2e"
SERVER_PORT = 8000
_SCRIPT = Path(__file__).with_name("tinyserver.py")
_POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Without a request a container is the last to get a share of a busy machine.
_RESOURCES: Json = {"requests": {"cpu": "30m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
_CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Task:
    """What every binding's adapter is for.

    Attributes:
        fields: `spec.task` of an AdapterBinding without its dataset.
        train: Examples for fine-tuning.
        validation: Examples for the search.
        test: Examples for the gate.
    """

    fields: Json
    train: ArtifactRef
    validation: ArtifactRef
    test: ArtifactRef


def to_yaml(manifest: Json) -> str:
    """Return a manifest as a document for kubectl."""
    return yaml.safe_dump(manifest)


def namespace(name: str, labels: Mapping[str, str]) -> Json:
    """Return a namespace in which the restricted Pod Security Standard is enforced."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**enforced, **labels}}}


def store_secret(namespace_name: str, access_key: str, secret_key: str) -> Json:
    """Return the Secret with which pods of a namespace reach the store."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": STORE_SECRET, "namespace": namespace_name},
        "stringData": {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key},
    }


def profile(image: str, endpoint: str) -> Json:
    """Return the profile of all scenarios."""
    return _ours(
        "TrainerProfile",
        PROFILE,
        {
            "image": image,
            "store": {
                "uri": "s3://adapters/{namespace}",
                "deltaUri": "s3://models/deltas",
                "endpoint": endpoint,
                "secretName": STORE_SECRET,
            },
            # The request is a queue: no more steps run at once than the node has cores for.
            "resources": {"requests": {"cpu": "400m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
            "scratchSizeLimit": "1Gi",
        },
    )


def release(name: str, model: str, weights: ArtifactRef, *, supersedes: str | None = None, **spec: object) -> Json:
    """Return a release."""
    chain = {"supersedes": supersedes} if supersedes else {}
    return _ours(
        "BaseModelRelease",
        name,
        {
            "model": model,
            "version": name,
            **chain,
            "weights": weights.to_json(),
            "profileRef": {"name": PROFILE},
            **spec,
        },
    )


def binding(
    name: str,
    namespace_name: str,
    *,
    model: str,
    source_release: str,
    adapter: ArtifactRef,
    task: Task,
    gates: Sequence[Json],
    readaptation: Json,
    server: tuple[str, str] | None,
    labels: Mapping[str, str],
) -> Json:
    """Return a binding; `server` is the namespace and name of its server, if it has one."""
    dataset = {part: ref.to_json() for part, ref in vars(task).items() if isinstance(ref, ArtifactRef)}
    served = {"serverRef": {"namespace": server[0], "name": server[1]}} if server else {}
    return _ours(
        "AdapterBinding",
        name,
        {
            "model": model,
            "source": {"releaseName": source_release, **adapter.to_json()},
            "task": {**task.fields, "dataset": dataset},
            "quality": {"gates": list(gates)},
            "readaptation": readaptation,
            **served,
        },
        namespace_name,
        labels,
    )


def server(name: str, namespace_name: str, *, model: str, initial_release: str, target: str, **spec: object) -> Json:
    """Return a server."""
    return _ours(
        "AdapterServer",
        name,
        {
            "model": model,
            "initialReleaseName": initial_release,
            "targetRef": {"kind": "Deployment", "name": target},
            "progressDeadlineSeconds": 120,
            **spec,
        },
        namespace_name,
    )


def server_script(namespace_name: str) -> Json:
    """Return the ConfigMap with the program of the serving pods' main container."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tinyserver", "namespace": namespace_name},
        "data": {_SCRIPT.name: _SCRIPT.read_text()},
    }


def workload(
    name: str,
    namespace_name: str,
    *,
    image: str,
    endpoint: str,
    consent: str | None,
    refused_release: str = "",
    drain_seconds: int = 0,
) -> Json:
    """Return a serving Deployment as its owner declares it once.

    Args:
        name: The Deployment's.
        namespace_name: Where it runs.
        image: The operator's image: relora-fetch, and a Python for the main container.
        endpoint: The store's.
        consent: The AdapterServer that may annotate it; None for an owner who did not consent.
        refused_release: A release with which the main container never gets ready.
        drain_seconds: How long a pod that is to end still answers, so that no Service sends it what it cannot answer.
    """
    labels = {"app": name}
    consenting = {LABEL_ADAPTER_SERVER: consent} if consent else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace_name, "labels": {**labels, **consenting}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": drain_seconds + 1,
                    "securityContext": _POD_SECURITY,
                    "initContainers": [_fetch(image, endpoint)],
                    "containers": [_main(image, refused_release, drain_seconds)],
                    "volumes": [
                        {"name": "set", "downwardAPI": {"items": [_SET_FILE]}},
                        {"name": "relora", "emptyDir": {"sizeLimit": "1Gi"}},
                        {"name": "tmp", "emptyDir": {"sizeLimit": "100Mi"}},
                        {"name": "script", "configMap": {"name": "tinyserver"}},
                    ],
                },
            },
        },
    }


def service(workload_name: str, namespace_name: str) -> Json:
    """Return the Service of a workload, under its name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": workload_name, "namespace": namespace_name},
        "spec": {"selector": {"app": workload_name}, "ports": [{"port": SERVER_PORT}]},
    }


_SET_FILE: Json = {
    "path": SERVING_SET_PATH.rpartition("/")[2],
    "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOTATION_SERVING_SET}']"},
}
_SET_MOUNT: Json = {"name": "set", "mountPath": SERVING_SET_PATH.rpartition("/")[0], "readOnly": True}
_TMP_MOUNT: Json = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the pod's own emptyDir


def _fetch(image: str, endpoint: str) -> Json:
    return {
        "name": "relora-fetch",
        "image": image,
        "command": ["relora-fetch"],
        "env": [{"name": "AWS_ENDPOINT_URL", "value": endpoint}],
        "envFrom": [{"secretRef": {"name": STORE_SECRET}}],
        "resources": _RESOURCES,
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": [_SET_MOUNT, _TMP_MOUNT, {"name": "relora", "mountPath": SERVING_DIRECTORY}],
    }


def _main(image: str, refused_release: str, drain_seconds: int) -> Json:
    drains = {"lifecycle": {"preStop": {"sleep": {"seconds": drain_seconds}}}} if drain_seconds else {}
    return {
        **drains,
        "name": "server",
        "image": image,
        "command": ["python3", f"/script/{_SCRIPT.name}", SERVING_SET_PATH, SERVING_DIRECTORY, str(SERVER_PORT)],
        "env": [{"name": "REFUSED_RELEASE", "value": refused_release}],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": SERVER_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
        },
        "resources": _RESOURCES,
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": [
            _SET_MOUNT,
            _TMP_MOUNT,
            {"name": "relora", "mountPath": SERVING_DIRECTORY, "readOnly": True},
            {"name": "script", "mountPath": "/script", "readOnly": True},
        ],
    }


def _ours(
    kind: str, name: str, spec: Json, namespace_name: str | None = None, labels: Mapping[str, str] | None = None
) -> Json:
    metadata = {"name": name, "labels": dict(labels or {}), **({"namespace": namespace_name} if namespace_name else {})}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

"""One valid object of each kind, with every field of its spec set; a policy that holds work back in `every_kind` only.

Each call returns a fresh document in the form that `kubectl apply` sends, so that a test can change it freely.
"""

from copy import deepcopy
from typing import Any

from relora_contract.digests import sha256_digest
from relora_contract.wellknown import API_VERSION

Document = dict[str, Any]


def digest(word: str) -> str:
    """Return a digest that differs for every word."""
    return sha256_digest(word.encode())


def release(name: str = "tiny-r2", **spec: object) -> Document:
    return _object(
        "BaseModelRelease",
        name,
        {
            "model": "tiny",
            "version": "2026.11",
            "supersedes": "tiny-r1",
            "weights": {"uri": "s3://models/tiny-r2", "digest": digest("r2")},
            "profileRef": {"name": "standard"},
            "allowedNamespaces": {"selector": _SELECTOR},
            "suspend": False,
            "rollout": {
                "maxRunningJobs": 4,
                "maxRunningJobsPerNamespace": 2,
            },
        },
        spec,
    )


def binding(name: str = "classifier", namespace: str = "team", **spec: object) -> Document:
    return _object(
        "AdapterBinding",
        name,
        {
            "model": "tiny",
            "source": {
                "releaseName": "tiny-r1",
                "uri": "s3://adapters/classifier/v1",
                "digest": digest("adapter"),
                "secretRef": {"name": "adapter-reader"},
            },
            "task": {
                "kind": "CausalLM",
                "dataset": {
                    "train": {"uri": "s3://data/train.jsonl", "digest": digest("train")},
                    "validation": {"uri": "s3://data/validation.jsonl", "digest": digest("validation")},
                    "test": {"uri": "s3://data/test.jsonl", "digest": digest("test")},
                    "secretRef": {"name": "data-reader"},
                },
                "promptTemplate": "Text: {text}\nSection:",
                "completionField": "label",
                "choices": [" news", " sport"],
                "maxLength": 256,
            },
            "quality": {
                "gates": [
                    {"metric": "Accuracy", "threshold": "0.81", "maxRegression": "0.02"},
                    {"metric": "Loss", "maxRegression": "0.1"},
                ]
            },
            "readaptation": {
                "strategy": "ReLoRA",
                "search": {
                    "granularity": "Global",
                    "budget": 8,
                    "validationSamples": 64,
                    "alpha": {"min": "0", "max": "1"},
                    "beta": {"min": "0", "max": "3"},
                },
                "tuning": {
                    "epochs": 1,
                    "recoverFraction": "0.2",
                    "anchorStrong": "1e-3",
                    "anchorWeak": "1e-4",
                    "learningRate": "5e-4",
                    "minLearningRate": "1e-5",
                    "batchSize": 8,
                },
                "refine": "WhenBelowGate",
                "seed": 7,
                "activeDeadlineSeconds": 3600,
                "maxAttempts": 2,
            },
            "serverRef": {"name": "vllm", "namespace": "engines"},
            "servedName": "team.classifier",
            "suspend": False,
            "priority": 100,
            "revisionHistoryLimit": 2,
        },
        spec,
        namespace,
    )


def chat_binding() -> Document:
    """Return a binding whose prompt is a chat."""
    document = binding(updatePolicy=_POLICY)
    del document["spec"]["task"]["promptTemplate"]
    document["spec"]["task"]["messages"] = [{"role": "user", "content": "Text: {text}"}]
    return document


def server(name: str = "vllm", namespace: str = "engines", **spec: object) -> Document:
    return _object(
        "AdapterServer",
        name,
        {
            "model": "tiny",
            "initialReleaseName": "tiny-r1",
            "targetRef": {"kind": "Deployment", "name": "vllm"},
            "allowedBindings": {"from": "Selector", "selector": _SELECTOR},
            "engine": "PEFT",
            "maxAdapters": 8,
            "maxLoRARank": 16,
            "suspend": False,
            "progressDeadlineSeconds": 600,
        },
        spec,
        namespace,
    )


def profile(name: str = "standard", **spec: object) -> Document:
    return _object(
        "TrainerProfile",
        name,
        {
            "image": f"registry.example/relora-trainer@{digest('image')}",
            "serviceAccountName": "relora-trainer",
            "allowedNamespaces": {"selector": _SELECTOR},
            "store": {
                "uri": "s3://adapters/{namespace}",
                "deltaUri": "s3://models/deltas",
                "endpoint": "http://s3.storage:7070",
                "secretName": "relora-store",
            },
            "credentials": [{"uriPrefix": "s3://models/base", "secretName": "model-reader"}],
            "resources": {
                "requests": {"cpu": "500m", "memory": "2Gi"},
                "limits": {"cpu": 2, "memory": "4Gi", "nvidia.com/gpu": 1},
            },
            "scheduling": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [
                    {"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
                    {"key": "nvidia.com/gpu", "operator": "Exists"},
                ],
                "priorityClassName": "batch",
                "localQueueName": "gpus",
                "workloadPriorityClassName": "adapters",
            },
            "scratchSizeLimit": "20Gi",
            "preRunningDeadlineSeconds": 600,
        },
        spec,
    )


def every_kind() -> dict[str, Document]:
    """Return one object of each kind by its kind, with what would hold the others' stories up."""
    rollout = {
        "maxRunningJobs": 4,
        "maxRunningJobsPerNamespace": 2,
        "maxQueuedJobs": 50,
        "canary": {"selector": _SELECTOR, "minPromoted": 2, "deadlineSeconds": 3600},
        "failureBudget": {"maxFailed": "5%", "minimumSample": 20, "acceptedFailures": 1},
    }
    documents = (
        release(withdrawn=True, rollout=rollout),
        binding(updatePolicy=_POLICY),
        server(upgrade=_UPGRADE),
        profile(),
    )
    return {document["kind"]: document for document in documents}


_POLICY: Document = {
    "mode": "Manual",
    "approvedReleaseName": "tiny-r2",
    "promote": "Best",
    "onFailure": "Degrade",
}
_UPGRADE: Document = {
    "deadlineSeconds": 86_400,
    "minIntervalSeconds": 3600,
    "stragglers": "Split",
    "fallbackTargetRef": {"kind": "Deployment", "name": "vllm-old"},
}
_SELECTOR: Document = {
    "matchLabels": {"relora.dev/admitted": "true"},
    "matchExpressions": [
        {"key": "stage", "operator": "In", "values": ["production", "staging"]},
        {"key": "frozen", "operator": "DoesNotExist"},
    ],
}


def _object(kind: str, name: str, spec: Document, changes: dict[str, object], namespace: str = "") -> Document:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return deepcopy({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": {**spec, **changes}})

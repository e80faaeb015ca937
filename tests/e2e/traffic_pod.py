"""The pod whose requests tell whether a roll-out is seen by clients."""

import json
from collections.abc import Mapping
from pathlib import Path

from e2e.clusterapi import Json

_SCRIPT = Path(__file__).with_name("traffic.py")


def traffic_pod(name: str, namespace: str, *, image: str, url: str, prompts: Mapping[str, str]) -> list[Json]:
    """Return a pod that asks served adapters through a Service, all the time, and the ConfigMap with its program.

    Args:
        name: Of both.
        namespace: Where they are.
        image: Has a Python.
        url: The Service's.
        prompts: What is asked, by served name.
    """
    container: Json = {
        "name": name,
        "image": image,
        "command": ["python", f"/traffic/{_SCRIPT.name}"],
        "env": [
            {"name": "TRAFFIC_URL", "value": url},
            {"name": "TRAFFIC_PROMPTS", "value": json.dumps(dict(prompts))},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "script", "mountPath": "/traffic"}],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {_SCRIPT.name: _SCRIPT.read_text()},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "runAsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "script", "configMap": {"name": name}}],
            },
        },
    ]

"""Objects of one tenant: releases, a server with its workload, and bindings."""

from typing import Any

from controller.api import Api, condition
from controller.rights import NAMESPACE
from samples.kinds import binding, digest, profile, release, server


class Fleet:
    """One tenant with a server and bindings, and the first release."""

    def __init__(self, api: Api, namespace: str, *names: str) -> None:
        self.api = api
        self.namespace = namespace
        self.names = names
        self.model = namespace
        self.r1, self.r2 = f"{namespace}-r1", f"{namespace}-r2"

    def create(self) -> None:
        self.api.create(
            profile(self.model, scheduling={}, serviceAccountName="default", allowedNamespaces={"selector": {}})
        )
        self.release(self.r1)
        self.api.create(deployment("vllm", self.namespace))
        own = {"namespace": self.namespace, "model": self.model, "initialReleaseName": self.r1}
        self.api.create(server(**own, allowedBindings={"from": "Same"}))
        for name in self.names:
            source = {"releaseName": self.r1, "uri": f"s3://adapters/{name}/v1", "digest": digest(name)}
            self.api.create(
                binding(
                    name,
                    self.namespace,
                    model=self.model,
                    source=source,
                    serverRef={"name": "vllm"},
                    servedName=f"{name}-served",
                    updatePolicy={"mode": "Automatic"},
                )
            )

    def release(self, name: str, supersedes: str | None = None) -> None:
        weights = {"uri": f"s3://models/{name}", "digest": digest(name)}
        document = release(
            name,
            model=self.model,
            weights=weights,
            supersedes=supersedes,
            profileRef={"name": self.model},
            allowedNamespaces={"selector": {}},
        )
        if supersedes is None:
            del document["spec"]["supersedes"]
        self.api.create(document)

    def binding(self, name: str) -> dict[str, Any]:
        return self.api.get("AdapterBinding", name, self.namespace)

    @property
    def server(self) -> dict[str, Any]:
        return self.api.get("AdapterServer", "vllm", self.namespace)

    @property
    def jobs(self) -> list[str]:
        """Names of all Jobs of the model, delta Jobs first."""
        delta = [job for job in self.api.within("Job", NAMESPACE) if job["metadata"]["name"].startswith(self.model)]
        own = self.api.within("Job", self.namespace)
        return [job["metadata"]["name"] for job in (*delta, *own)]

    def serves(self, release_name: str) -> bool:
        """Tell whether the server and all its members say that they are on a release."""
        return self.server["status"]["current"]["releaseName"] == release_name and all(
            condition(found, "Ready")["status"] == "True"
            and condition(found, "UpToDate")["status"] == "True"
            and found["status"]["current"]["releaseName"] == release_name
            for found in map(self.binding, self.names)
        )

    def complete(self, release_name: str) -> bool:
        return bool(condition(self.api.get("BaseModelRelease", release_name), "Complete").get("status") == "True")

    def release_counts(self, name: str) -> int:
        """Return how many bindings a release counts."""
        count: int = self.api.get("BaseModelRelease", name)["status"]["bindings"]["eligible"]
        return count

    def served_set(self) -> str:
        found = self.api.get("Deployment", "vllm", self.namespace)
        text: str = found["spec"]["template"]["metadata"]["annotations"]["relora.dev/serving-set"]
        return text


def deployment(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"relora.dev/adapter-server": "vllm"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "server", "image": "registry.example/server:1"}]},
            },
        },
    }

"""The cluster's API as the scenarios use it: whole objects as JSON, by kind, namespace and name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from kubernetes import client, config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError

Json: TypeAlias = dict[str, Any]

_FIELD_MANAGER = "relora-e2e"
_API_VERSIONS: Mapping[str, str] = {
    "AdapterBinding": "relora.dev/v1alpha1",
    "AdapterServer": "relora.dev/v1alpha1",
    "BaseModelRelease": "relora.dev/v1alpha1",
    "TrainerProfile": "relora.dev/v1alpha1",
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Event": "v1",
    "Job": "batch/v1",
    "Lease": "coordination.k8s.io/v1",
    "Namespace": "v1",
    "Pod": "v1",
    "Secret": "v1",
    "Service": "v1",
}


class Ref(NamedTuple):
    """Names one object; `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: str, manifest: Json) -> "Ref":
        """Return the reference to the object of a manifest."""
        return cls(kind, manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class ClusterApi:
    """Reads and writes objects as the cluster's admin. One instance for each thread that watches."""

    def __init__(self, kubeconfig: Path) -> None:
        self._rest = config.new_client_from_config(config_file=str(kubeconfig))
        self._dynamic = DynamicClient(self._rest)
        self._core = client.CoreV1Api(self._rest)

    def close(self) -> None:
        """Close the connections."""
        self._rest.rest_client.pool_manager.clear()
        self._rest.close()

    def apply(self, *manifests: Json) -> None:
        """Create or change objects by server-side apply."""
        for manifest in manifests:
            self._resource(manifest["kind"]).server_side_apply(
                body=manifest,
                name=manifest["metadata"]["name"],
                namespace=manifest["metadata"].get("namespace"),
                field_manager=_FIELD_MANAGER,
                force_conflicts=True,
            )

    def get(self, ref: Ref) -> Json | None:
        """Return an object, or None where there is none."""
        try:
            found: Json = self._resource(ref.kind).get(name=ref.name, namespace=ref.namespace or None).to_dict()
        except NotFoundError:
            return None
        return found

    def list(self, kind: str, namespace: str = "") -> tuple[list[Json], str]:
        """Return the objects of a kind, and the resource version of the list."""
        found: Json = self._resource(kind).get(namespace=namespace or None).to_dict()
        return found["items"], found["metadata"]["resourceVersion"]

    def watch(self, kind: str, resource_version: str, seconds: int) -> Iterator[tuple[str, Json]]:
        """Yield the changes of a kind's objects for some seconds: the type of each and the object.

        Raises:
            kubernetes.client.ApiException: The resource version is too old (410); list again.
        """
        resource = self._resource(kind)
        for event in self._dynamic.watch(resource, resource_version=resource_version, timeout=seconds):
            yield event["type"], event["raw_object"]

    def merge(self, ref: Ref, patch: Json) -> None:
        """Change some fields of an object by a merge patch."""
        self._resource(ref.kind).patch(
            body=patch, name=ref.name, namespace=ref.namespace or None, content_type="application/merge-patch+json"
        )

    def delete(self, ref: Ref, *, grace_seconds: int | None = None) -> None:
        """Delete an object; its dependents follow in the background. An absent one is no error."""
        options: Json = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self._resource(ref.kind).delete(name=ref.name, namespace=ref.namespace or None, body=options)
        except NotFoundError:
            return

    def log_tail(self, pod: Ref, container: str, lines: int) -> str:
        """Return the last lines that a container printed, or why there are none."""
        try:
            text: str = self._core.read_namespaced_pod_log(
                pod.name, pod.namespace, container=container, tail_lines=lines
            )
        except client.ApiException as error:
            return f"({error.reason})"
        return text

    def ask_pod(self, pod: Ref, port: int, path: str) -> bytes:
        """GET a path of a pod's HTTP server, through the API server.

        Raises:
            kubernetes.client.ApiException: The pod does not answer, or not with 200.
        """
        response = self._core.connect_get_namespaced_pod_proxy_with_path(
            f"{pod.name}:{port}", pod.namespace, path, _preload_content=False
        )
        body: bytes = response.data
        return body

    def _resource(self, kind: str) -> Any:  # noqa: ANN401 - the client ships no types
        return self._dynamic.resources.get(api_version=_API_VERSIONS[kind], kind=kind)

"""Why the newest pods of a workload do not get ready, read live while it rolls out."""

from dataclasses import replace

from relora_operator.core.observed import ContainerView, TargetView
from relora_operator.kube.client import Client
from relora_operator.kube.parse_jobs import PodRecord, parse_pod
from relora_operator.kube.parse_targets import TargetRecord
from relora_operator.kube.resources import PODS

_STARTING = frozenset({None, "ContainerCreating", "PodInitializing", "Completed"})


async def describe_rollout(client: Client, record: TargetRecord) -> TargetView:
    """Return the target with what keeps the pods of its current set from being ready.

    The pods are those that carry the digest of the set in the pod template: their annotations are copies of it.

    Raises:
        KubeError: The pods could not be read.
    """
    target = record.view
    if target.rolled_out or target.serving_set_digest is None:
        return target
    waiting = [pod for pod in await _pods(client, record) if not pod.ready and not pod.view.deleting]
    unschedulable = next((pod.view.message for pod in waiting if not pod.view.scheduled and pod.view.message), None)
    failing = next(filter(None, (failure(pod) for pod in waiting)), None)
    return replace(target, unschedulable=unschedulable, failing=failing)


async def _pods(client: Client, record: TargetRecord) -> list[PodRecord]:
    target = record.view
    found = [
        parse_pod(raw)
        async for page in client.pages(PODS, namespace=target.namespace, label_selector=record.pod_selector)
        for raw in page.items
    ]
    current = [pod for pod in found if pod.serving_set_digest == target.serving_set_digest]
    return sorted(current, key=lambda pod: (pod.view.created_at, pod.view.name), reverse=True)


def failure(pod: PodRecord) -> str | None:
    """Return in words why a pod does not start, or None when it may still do so by itself."""
    for container in pod.view.containers:
        if ended := _ended_badly(container):
            return f"container {container.name}: {ended}"
    return None


def _ended_badly(container: ContainerView) -> str | None:
    words = container.message or ""
    if container.exit_code:
        return f"exit code {container.exit_code}{f' ({words})' if words else ''}"
    if container.reason not in _STARTING:
        return f"{container.reason}{f': {words}' if words else ''}"
    return None

"""What objects say, as the scenarios judge it."""

import json
from collections.abc import Iterable, Sequence

from e2e.chronicle import Version
from e2e.clusterapi import Json
from relora_contract.serving import ServingSet
from relora_contract.wellknown import ANNOTATION_SERVING_SET, LABEL_JOB_KIND


def condition(thing: Json | None, kind: str) -> tuple[str, str] | None:
    """Return status and reason of a condition, of an object whose operator saw its newest spec."""
    status = (thing or {}).get("status", {})
    if thing is None or status.get("observedGeneration") != thing["metadata"]["generation"]:
        return None
    return next(
        ((each["status"], each["reason"]) for each in status.get("conditions", []) if each["type"] == kind), None
    )


def message(thing: Json, kind: str) -> str:
    """Return the message of a condition."""
    found: str = next(each["message"] for each in thing["status"]["conditions"] if each["type"] == kind)
    return found


def serving_set(deployment: Json | None) -> ServingSet | None:
    """Return the serving set that a workload's pod template carries."""
    template = (deployment or {}).get("spec", {}).get("template", {}).get("metadata", {})
    text = template.get("annotations", {}).get(ANNOTATION_SERVING_SET)
    return ServingSet.model_validate_json(text) if text else None


def sets_over_time(history: Sequence[Version]) -> list[ServingSet]:
    """Return the serving sets that a workload carried, in order, without repetitions."""
    found: list[ServingSet] = []
    for version in history:
        carried = serving_set(version.object)
        if carried and (not found or found[-1] != carried):
            found.append(carried)
    return found


def shape(sets: Iterable[ServingSet]) -> list[tuple[str, list[str]]]:
    """Return release and served names of each serving set."""
    return [(each.release, [adapter.name for adapter in each.adapters]) for each in sets]


def jobs_of_kind(jobs: Iterable[Json], kind: str) -> list[Json]:
    """Return the Jobs of a kind: `delta`, `readaptation` or `report`."""
    return [job for job in jobs if job["metadata"].get("labels", {}).get(LABEL_JOB_KIND) == kind]


def container_states(pod: Json) -> dict[str, Json]:
    """Return the state of each container and init container of a pod by name."""
    status = pod.get("status", {})
    states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return {each["name"]: each["state"] for each in states}


def running(pod: Json, container: str) -> bool:
    """Tell whether a container of a pod runs."""
    return "running" in container_states(pod).get(container, {})


def terminated(pod: Json, container: str) -> bool:
    """Tell whether a container of a pod has ended."""
    return "terminated" in container_states(pod).get(container, {})


def ready(pod: Json) -> bool:
    """Tell whether a pod takes requests, and will go on to."""
    conditions = pod.get("status", {}).get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and any(
        (each["type"], each["status"]) == ("Ready", "True") for each in conditions
    )


def available(deployment: Json | None) -> bool:
    """Tell whether every pod of a Deployment is of its newest template and available."""
    if deployment is None:
        return False
    status, replicas = deployment.get("status", {}), deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas") == replicas
        and status.get("replicas") == replicas
        and status.get("availableReplicas") == replicas
    )


def text(thing: object) -> str:
    """Return JSON to search for a word in."""
    return json.dumps(thing)

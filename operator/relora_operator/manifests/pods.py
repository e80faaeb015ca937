"""The pod of a Job: one container per step, in sequence, under the restricted Pod Security Standard."""

from collections.abc import Mapping, Sequence

from pydantic.types import JsonValue

from relora_contract.api.profile import Resources, Scheduling, TrainerProfile
from relora_contract.wellknown import ANNOTATION_STEP_REQUEST, REQUEST_PATH, WORK_DIRECTORY
from relora_operator.manifests.requests import MountedRequest, SecretMount

Json = dict[str, JsonValue]

USER_ID = 65532
GRACE_SECONDS = 120
"""Time for a checkpoint after SIGTERM."""
DEFAULT_SCRATCH = "100Gi"
TMP_LIMIT = "10Gi"
REPORT_RESOURCES = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"})
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HOME": "/tmp", "USER": "relora"}  # noqa: S108 - the pod's own emptyDir
SIDECAR_LABELS: Mapping[str, str] = {"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"}
SIDECAR_ANNOTATIONS: Mapping[str, str] = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
}


def trainer_pod(
    *, command: str, steps: Sequence[str], labels: Mapping[str, str], mounted: MountedRequest, profile: TrainerProfile
) -> Json:
    """Return a pod template that runs `relora-trainer <command> <step>` for each step, the last as main container."""
    resources = (profile.spec.resources or Resources()) if command == "step" else REPORT_RESOURCES
    containers: list[JsonValue] = [_container(command, step, resources, mounted.secrets, profile) for step in steps]
    spec: Json = {
        "restartPolicy": "Never",
        "serviceAccountName": profile.spec.service_account_name or "default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": containers[:-1],
        "containers": containers[-1:],
        "volumes": _volumes(mounted.secrets, profile),
    }
    spec.update(_scheduling(profile.spec.scheduling or Scheduling()))
    return {
        "metadata": {
            "labels": {**labels, **SIDECAR_LABELS},
            "annotations": {**SIDECAR_ANNOTATIONS, ANNOTATION_STEP_REQUEST: mounted.annotation},
        },
        "spec": spec,
    }


def _container(
    command: str, step: str, resources: Resources, secrets: Sequence[SecretMount], profile: TrainerProfile
) -> Json:
    mounts: list[JsonValue] = [
        {"name": "request", "mountPath": REQUEST_PATH.rpartition("/")[0], "readOnly": True},
        {"name": "work", "mountPath": WORK_DIRECTORY},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
    ]
    mounts.extend(
        {"name": f"credentials-{number}", "mountPath": secret.directory, "readOnly": True}
        for number, secret in enumerate(secrets)
    )
    environment: list[JsonValue] = [{"name": name, "value": value} for name, value in ENVIRONMENT.items()]
    return {
        "name": step,
        "image": profile.spec.image,
        "args": [command, step],
        "env": environment,
        "resources": resources.to_json(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def _volumes(secrets: Sequence[SecretMount], profile: TrainerProfile) -> list[JsonValue]:
    request_file: Json = {
        "path": REQUEST_PATH.rpartition("/")[2],
        "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOTATION_STEP_REQUEST}']"},
    }
    volumes: list[JsonValue] = [
        {"name": "request", "downwardAPI": {"items": [request_file]}},
        {"name": "work", "emptyDir": {"sizeLimit": profile.spec.scratch_size_limit or DEFAULT_SCRATCH}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_LIMIT}},
    ]
    volumes.extend(
        {"name": f"credentials-{number}", "secret": {"secretName": secret.secret_name, "defaultMode": 0o440}}
        for number, secret in enumerate(secrets)
    )
    return volumes


def _scheduling(scheduling: Scheduling) -> Json:
    of_the_job = {"localQueueName", "workloadPriorityClassName"}
    return {name: value for name, value in scheduling.to_json().items() if value and name not in of_the_job}

"""The admission policy of the examples lets the operator do its work, and nothing else with the same rights."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api import eventually
from devcluster.controlplane import ControlPlane
from devcluster.kubectl import KubectlError
from relora_contract.wellknown import (
    ANNOTATION_SERVING_SET,
    ANNOTATION_SERVING_SET_DIGEST,
    FIELD_MANAGER,
    LABEL_ADAPTER_SERVER,
    LABEL_MANAGED_BY,
    MANAGED_BY,
)

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "examples/security/admission-policy.yaml"
OPERATOR = "system:serviceaccount:relora-system:relora-operator"
NAMESPACE = "guarded"
BY_THE_POLICY = "ValidatingAdmissionPolicy"
OF_THE_OPERATOR = {LABEL_MANAGED_BY: MANAGED_BY}
SET = {ANNOTATION_SERVING_SET: "{}", ANNOTATION_SERVING_SET_DIGEST: "sha256:0"}

Json = dict[str, Any]
Refused = Callable[..., str | None]


def deployment(name: str, labels: Json) -> Json:
    container = {"name": "server", "image": "registry.example/server"}
    template = {
        "metadata": {"labels": {"app": name}, "annotations": {"note": "x"}},
        "spec": {"containers": [container]},
    }
    metadata = {"name": name, "labels": labels}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def job(name: str, labels: Json, **pod: object) -> Json:
    container = {"name": "step", "image": "registry.example/trainer"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], **pod}}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}


def rights() -> str:
    """Return the roles of the chart, and their bindings to the operator's account."""
    rendered = (ROOT / "tests/golden/expected/chart.yaml").read_text(encoding="utf-8")
    found = [
        one for one in yaml.safe_load_all(rendered) if one and one["kind"] in {"ClusterRole", "ClusterRoleBinding"}
    ]
    return yaml.safe_dump_all(found)


@pytest.fixture(scope="session")
def refused(control_plane: ControlPlane) -> Iterator[Refused]:
    """Run kubectl as the operator's account; return what the policy says against it, or None."""

    def answer(*arguments: str, stdin: Json | None = None) -> str | None:
        given = json.dumps(stdin) if stdin is not None else None
        try:
            control_plane.kubectl(*arguments, "--namespace", NAMESPACE, "--as", OPERATOR, input=given)
        except KubectlError as error:
            return error.message
        return None

    def run(*arguments: str, stdin: Json | None = None) -> str | None:
        told = answer(*arguments, stdin=stdin)
        assert told is None or BY_THE_POLICY in told
        return told

    def is_refused(probe: tuple[str, ...]) -> bool:
        return BY_THE_POLICY in str(answer(*probe, "--dry-run=server"))

    control_plane.kubectl("apply", "-f", "-", input=rights())
    control_plane.kubectl("create", "namespace", NAMESPACE)
    objects = [
        deployment("consenting", {LABEL_ADAPTER_SERVER: "vllm"}),
        deployment("other", {}),
        job("own", OF_THE_OPERATOR),
        job("foreign", {}),
    ]
    for one in objects:
        control_plane.kubectl("create", "--namespace", NAMESPACE, "-f", "-", input=json.dumps(one))
    control_plane.kubectl("apply", "-f", str(POLICY))
    # Roles and policies count a moment after they were stored.
    for probe in (patch("other", {"spec": {"paused": True}}), patch("foreign", {"spec": {"suspend": True}}, "job")):
        eventually(partial(is_refused, probe), "the policy is in force")
    yield run
    control_plane.kubectl("delete", "-f", str(POLICY))
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def patch(name: str, change: Json, kind: str = "deployment") -> tuple[str, ...]:
    return ("patch", kind, name, "--type=merge", "--patch", json.dumps(change))


def template(change: Json) -> Json:
    return {"spec": {"template": change}}


def test_the_operator_may_apply_a_serving_set_where_it_has_consent(refused: Refused) -> None:
    applied = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "consenting"},
        **template({"metadata": {"annotations": SET}}),
    }
    arguments = ("apply", "--server-side", "--field-manager", FIELD_MANAGER, "--validate=false", "-f", "-")
    assert refused(*arguments, stdin=applied) is None
    assert refused(*patch("consenting", template({"metadata": {"annotations": SET | {next(iter(SET)): "[]"}}}))) is None


def test_without_consent_it_may_not(refused: Refused) -> None:
    assert "its owner's consent" in str(refused(*patch("other", template({"metadata": {"annotations": SET}}))))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (template({"metadata": {"annotations": {"other": "y"}}}), "only the two of the serving set"),
        (template({"metadata": {"annotations": {"note": "y"}}}), "only the two of the serving set"),
        (template({"metadata": {"annotations": {"note": None}}}), "only the two of the serving set"),
        (template({"metadata": {"labels": {"more": "x"}}}), "only annotations"),
        (template({"spec": {"hostNetwork": True}}), "only annotations"),
        (
            template({"spec": {"containers": [{"name": "server", "image": "registry.example/else"}]}}),
            "only annotations",
        ),
        ({"spec": {"replicas": 3}}, "only the pod template"),
        ({"spec": {"paused": True}}, "only the pod template"),
        ({"spec": {"minReadySeconds": 9}}, "only the pod template"),
        ({"spec": {"revisionHistoryLimit": 9}}, "only the pod template"),
        ({"spec": {"progressDeadlineSeconds": 9}}, "only the pod template"),
        ({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}, "only the pod template"),
        ({"metadata": {"labels": {"more": "x"}}}, "own metadata"),
        ({"metadata": {"annotations": {"more": "x"}}}, "own metadata"),
        ({"metadata": {"finalizers": ["relora.dev/x"]}}, "own metadata"),
    ],
    ids=str,
)
def test_nothing_else_of_a_deployment_may_change(refused: Refused, change: Json, told: str) -> None:
    assert told in str(refused(*patch("consenting", change)))


def test_jobs_get_no_token(refused: Refused) -> None:
    create = ("create", "--dry-run=server", "-f", "-")
    assert refused(*create, stdin=job("new", OF_THE_OPERATOR, automountServiceAccountToken=False)) is None
    pods: tuple[Json, ...] = ({}, {"automountServiceAccountToken": True})
    for pod in pods:
        assert "token of their ServiceAccount" in str(refused(*create, stdin=job("new", OF_THE_OPERATOR, **pod)))
    assert "not one of the operator's" in str(
        refused(*create, stdin=job("new", {}, automountServiceAccountToken=False))
    )


@pytest.mark.parametrize(
    ("source", "admitted"),
    [
        ({"secret": {"secretName": "store"}}, True),
        ({"emptyDir": {}}, True),
        ({"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}, True),
        ({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}, False),
        ({"hostPath": {"path": "/"}}, False),
        ({"persistentVolumeClaim": {"claimName": "data"}}, False),
    ],
    ids=str,
)
def test_jobs_mount_secrets_metadata_and_scratch_space_only(refused: Refused, source: Json, *, admitted: bool) -> None:
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "other", **source}]
    created = job("new", OF_THE_OPERATOR, automountServiceAccountToken=False, volumes=volumes)
    told = refused("create", "--dry-run=server", "-f", "-", stdin=created)
    assert told is None if admitted else "may mount Secrets" in str(told)


def test_only_its_own_jobs_are_changed_and_deleted(refused: Refused) -> None:
    expiry = {"spec": {"ttlSecondsAfterFinished": 3600}}
    assert refused(*patch("own", expiry, "job")) is None
    assert "not one of the operator's" in str(refused(*patch("foreign", expiry, "job")))
    delete = ("delete", "job", "--wait=false", "--dry-run=server")
    assert refused(*delete, "own") is None
    assert "not one of the operator's" in str(refused(*delete, "foreign"))


def test_others_are_not_asked(control_plane: ControlPlane, refused: Refused) -> None:
    control_plane.kubectl(*patch("other", {"spec": {"replicas": 0, "paused": False}}), "--namespace", NAMESPACE)
    control_plane.kubectl(*patch("foreign", {"spec": {"suspend": False}}, "job"), "--namespace", NAMESPACE)
    assert refused(*patch("foreign", {"spec": {"suspend": True}}, "job")) is not None


def test_the_network_policy_is_accepted(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "-f", str(ROOT / "examples/1-namespaces.yaml"))
    path = ROOT / "examples/security/trainer-network-policy.yaml"
    control_plane.kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", str(path))

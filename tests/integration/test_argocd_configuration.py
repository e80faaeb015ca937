"""The two commands by which Argo CD gets the health checks keep what its ConfigMap holds."""

import json
import re
from pathlib import Path

import pytest

from devcluster.controlplane import ControlPlane

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/relora-operator"
KINDS = ("AdapterBinding", "AdapterServer", "BaseModelRelease")


@pytest.fixture
def argocd_namespace(control_plane: ControlPlane, namespace: str) -> str:
    """A namespace with a configuration of Argo CD."""
    control_plane.kubectl(
        "create", "configmap", "argocd-cm", "-n", namespace, "--from-literal=url=https://argo.example"
    )
    return namespace


def configuration(control_plane: ControlPlane, namespace: str) -> dict[str, str]:
    found = json.loads(control_plane.kubectl("get", "configmap", "argocd-cm", "-n", namespace, "-o", "json"))
    data: dict[str, str] = found["data"]
    return data


def test_the_command_of_the_charts_notes(control_plane: ControlPlane, argocd_namespace: str) -> None:
    script = (CHART / "files/argocd/health.lua").read_text(encoding="utf-8")
    checks = {f"resource.customizations.health.relora.dev_{kind}": script for kind in KINDS}
    ours = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours"}, "data": checks}
    control_plane.kubectl("apply", "-n", argocd_namespace, "-f", "-", input=json.dumps(ours))
    (template,) = re.findall(r"-o jsonpath='(.+)' \|", (CHART / "templates/NOTES.txt").read_text(encoding="utf-8"))

    patch = control_plane.kubectl("get", "configmap", "ours", "-n", argocd_namespace, "-o", f"jsonpath={template}")
    control_plane.kubectl(
        "patch", "configmap", "argocd-cm", "-n", argocd_namespace, "--type", "merge", "--patch", patch
    )

    assert configuration(control_plane, argocd_namespace) == {"url": "https://argo.example", **checks}


def test_the_command_of_the_example(control_plane: ControlPlane, argocd_namespace: str) -> None:
    path = ROOT / "examples/gitops/argocd/argocd-cm.yaml"
    text = path.read_text(encoding="utf-8").replace("namespace: argocd", f"namespace: {argocd_namespace}")

    control_plane.kubectl("patch", "configmap", "argocd-cm", "-n", argocd_namespace, "--type", "merge", "--patch", text)

    merged = configuration(control_plane, argocd_namespace)
    assert merged["url"] == "https://argo.example"
    assert len(merged) == 1 + len(KINDS) + 1

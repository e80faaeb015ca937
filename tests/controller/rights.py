"""Runs the operator with exactly the rights that the chart gives it."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from devcluster.controlplane import ControlPlane

NAMESPACE = "relora-system"
ACCOUNT = "relora-operator"

_RBAC = Path(__file__).parents[2] / "charts/relora-operator/templates/rbac.yaml"


def install_rights(plane: ControlPlane, folder: Path) -> Path:
    """Create namespace, account and roles; return a kubeconfig of the account."""
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("create", "serviceaccount", ACCOUNT, "-n", NAMESPACE)
    plane.kubectl("apply", "-f", "-", input="---\n".join(json.dumps(document) + "\n" for document in _documents()))
    return kubeconfig_of(plane, folder, ACCOUNT)


def kubeconfig_of(plane: ControlPlane, folder: Path, account: str) -> Path:
    """Return a kubeconfig of an account of the operator's namespace."""
    token = plane.kubectl("create", "token", account, "-n", NAMESPACE, "--duration=2h").strip()
    config: dict[str, Any] = json.loads(plane.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": account, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = account
    path = folder / f"{account}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def _documents() -> list[dict[str, Any]]:
    """Return the chart's roles: its template with the two values that it takes filled in."""
    text = _RBAC.read_text()
    text = re.sub(r"\n +labels:\n +\{\{-[^}]*\}\}", "", text)
    text = re.sub(r'\{\{ include "relora-operator.name" \. \}\}', ACCOUNT, text)
    text = text.replace("{{ .Release.Namespace }}", NAMESPACE)
    assert "{{" not in text, "the chart's rbac.yaml has a template that this test does not know"
    return [document for document in yaml.safe_load_all(text) if document]

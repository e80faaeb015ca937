"""Installs the operator with Helm, as a platform team does."""

from pathlib import Path

from devcluster.node import Node
from devcluster.progress import Report, run_reported
from e2e import manifests
from e2e.operatorpods import NAMESPACE, RELEASE

CHART = Path(__file__).parents[2] / "charts" / "relora-operator"


def install(node: Node, image: str, report: Report) -> None:
    """Install the chart, or bring an installed one up to date, and wait until its pods are ready."""
    repository, _, digest = image.partition("@")
    for manifest in (
        manifests.namespace(NAMESPACE, {}),
        manifests.store_secret(NAMESPACE, node.endpoints().s3_access_key, node.endpoints().s3_secret_key),
    ):
        node.kubectl("apply", "-f", "-", input=manifests.to_yaml(manifest))
    run_reported(
        "installing the operator",
        [
            *(str(node.programs["helm"]), "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE),
            *("--kubeconfig", str(node.kubeconfig), "--wait", "--timeout", "300s"),
            *("--set", f"image.repository={repository}", "--set", f"image.digest={digest}"),
        ],
        report,
    )

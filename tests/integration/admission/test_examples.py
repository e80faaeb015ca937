"""The manifests that users copy are accepted as they are."""

from pathlib import Path

import pytest
import yaml

from devcluster.controlplane import ControlPlane
from relora_contract.wellknown import (
    ANNOTATION_SERVING_SET,
    LABEL_ADAPTER_SERVER,
    SERVING_DIRECTORY,
    SERVING_SET_PATH,
)

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("admission")]

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def documents() -> list[dict[str, object]]:
    return [document for path in EXAMPLES for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def test_examples_are_accepted_without_a_warning(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "-f", str(EXAMPLES[0]))
    for path in EXAMPLES[1:]:
        control_plane.kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", str(path))


def test_examples_show_every_kind() -> None:
    kinds = {document["kind"] for document in documents()}
    assert {"BaseModelRelease", "AdapterBinding", "AdapterServer", "TrainerProfile"} <= kinds


def test_the_page_of_the_examples_names_every_file() -> None:
    page = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in page] == []


def test_the_workload_consents_and_mounts_what_relora_fetch_reads() -> None:
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents()}  # type: ignore[index] # YAML
    deployment: dict[str, object] = found["Deployment", "vllm"]
    text = yaml.safe_dump(deployment)
    assert f"{LABEL_ADAPTER_SERVER}: vllm" in text
    assert f"metadata.annotations['{ANNOTATION_SERVING_SET}']" in text
    assert f"mountPath: {SERVING_SET_PATH.rpartition('/')[0]}" in text
    assert f"mountPath: {SERVING_DIRECTORY}\n" in text
    assert f"path: {SERVING_SET_PATH.rpartition('/')[2]}" in text


def test_the_chart_is_accepted_without_a_warning(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "-f", str(EXAMPLES[0]))
    rendered = ROOT / "tests/golden/expected/chart.yaml"
    control_plane.kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", str(rendered))

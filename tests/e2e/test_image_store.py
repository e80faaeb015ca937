import io
import json
import tarfile
import uuid
from pathlib import Path

import httpx
import pytest

from devcluster.baseimages import debian_base
from devcluster.errors import DevclusterError
from devcluster.images import ImageStore
from devcluster.node import Node

pytestmark = pytest.mark.e2e

_DOCKERFILE = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nARG GREETING\nRUN echo ${GREETING} > /first\nCOPY second /second\n"


def _build(store: ImageStore, context: Path, greeting: str) -> str:
    base = debian_base(store, print)
    (context / "Dockerfile").write_text(_DOCKERFILE)
    arguments = {"BASE_IMAGE": base, "GREETING": greeting}
    image = "localhost/relora-test-image"
    store.build(image, context / "Dockerfile", context, arguments, {"dev.relora.test": greeting})
    assert store.label(image, "dev.relora.test") == greeting
    return image


def test_a_pod_runs_the_image_that_was_pushed_by_its_digest(
    node_cluster: Node, team: str, image_store: ImageStore, tmp_path: Path
) -> None:
    (tmp_path / "second").write_text("a file\n")
    reference = image_store.push(
        _build(image_store, tmp_path, "hello"), "test-image", node_cluster.endpoints().registry
    )
    assert reference.startswith("registry.relora.local/relora/test-image@sha256:")
    overrides = {
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": reference,
                    "command": ["cat", "/first", "/second"],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        }
    }
    node_cluster.kubectl(
        *("run", "-n", team, "reader", "--restart=Never", "--image", reference, "--overrides", json.dumps(overrides))
    )
    node_cluster.kubectl(
        *("wait", "-n", team, "pod/reader", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    )
    assert node_cluster.kubectl("logs", "-n", team, "reader") == "hello\na file\n"


def test_pushed_layers_are_uncompressed_and_carry_no_times(
    node_cluster: Node, image_store: ImageStore, tmp_path: Path
) -> None:
    registry = node_cluster.endpoints().registry
    (tmp_path / "second").write_text("a file\n")
    greeting = uuid.uuid4().hex  # no layer of an earlier run is taken for this one
    digest = image_store.push(_build(image_store, tmp_path, greeting), "test-image", registry).partition("@")[2]

    pushed = f"http://{registry}/v2/relora/test-image"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    manifest = httpx.get(f"{pushed}/manifests/{digest}", headers=accept).json()
    config = httpx.get(f"{pushed}/blobs/{manifest['config']['digest']}").json()
    assert config["created"] == "1970-01-01T00:00:00Z"
    new_layers = manifest["layers"][1:]
    assert new_layers
    for layer in new_layers:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        blob = httpx.get(f"{pushed}/blobs/{layer['digest']}").content
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            assert {member.mtime for member in archive.getmembers()} == {0}


def test_a_failed_build_shows_the_builders_words(image_store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {debian_base(image_store, print)}\nRUN echo the reason is this && false\n"
    )
    with pytest.raises(DevclusterError, match=r"building the image localhost/broken failed[\s\S]*the reason is this"):
        image_store.build("localhost/broken", tmp_path / "Dockerfile", tmp_path)
    assert image_store.label("localhost/broken", "any") is None


def test_builds_leave_no_mounts_on_this_machine(image_store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "second").write_text("a file\n")
    _build(image_store, tmp_path, uuid.uuid4().hex)
    (tmp_path / "Dockerfile").write_text(f"FROM {debian_base(image_store, print)}\nRUN false\n")
    with pytest.raises(DevclusterError):
        image_store.build("localhost/broken", tmp_path / "Dockerfile", tmp_path)
    storage = str(Path(image_store.environment["CONTAINERS_STORAGE_CONF"]).parent)
    assert [line for line in Path("/proc/self/mounts").read_text().splitlines() if storage in line] == []

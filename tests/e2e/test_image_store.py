import json
import os
from pathlib import Path

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


def test_the_same_content_has_the_same_digest_whenever_it_was_written(
    node_cluster: Node, image_store: ImageStore, tmp_path: Path
) -> None:
    references = []
    for folder, time in ((tmp_path / "one", 1_000_000_000), (tmp_path / "two", 1_500_000_000)):
        folder.mkdir()
        (folder / "second").write_text("a file\n")
        os.utime(folder / "second", (time, time))
        image = _build(image_store, folder, "hello")
        references.append(image_store.push(image, "test-image", node_cluster.endpoints().registry))
    assert references[0] == references[1]


def test_a_failed_build_shows_the_builders_words(image_store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {debian_base(image_store, print)}\nRUN echo the reason is this && false\n"
    )
    with pytest.raises(DevclusterError, match=r"building the image localhost/broken failed[\s\S]*the reason is this"):
        image_store.build("localhost/broken", tmp_path / "Dockerfile", tmp_path)
    assert image_store.label("localhost/broken", "any") is None

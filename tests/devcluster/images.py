"""Builds container images and pushes them to a node's registry."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from devcluster.debian import IMAGE_PACKAGES, install_command, missing_packages
from devcluster.errors import DevclusterError
from devcluster.nodelayout import REGISTRY_NAME
from devcluster.paths import cache_root
from devcluster.progress import Report, run_reported

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{root}/storage"
runroot = "{root}/run"
[storage.options.overlay]
skip_mount_home = "true"
"""
# Signatures are not checked: every image here was built on this machine.
_POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


class ImageStore:
    """The images built on this machine. Needs root, buildah and skopeo.

    Args:
        report: Takes lines of progress.
        root: Where they are kept; by default in the cache, apart from any other images of this machine.

    Raises:
        DevclusterError: A tool is missing.
    """

    def __init__(self, report: Report, root: Path | None = None) -> None:
        missing = missing_packages(IMAGE_PACKAGES)
        if missing:
            command = " ".join(install_command(missing))
            raise DevclusterError(
                f"no images here: missing {', '.join(missing)}. As root: python -m devcluster deps, or {command}"
            )
        self._report = report
        self._root = root or cache_root() / "containers"
        self._root.mkdir(parents=True, exist_ok=True)
        (self._root / "storage.conf").write_text(_STORAGE.format(root=self._root))
        (self._root / "policy.json").write_text(json.dumps(_POLICY))

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which buildah and skopeo see these images."""
        return {"CONTAINERS_STORAGE_CONF": str(self._root / "storage.conf"), "BUILDAH_ISOLATION": "chroot"}

    def build(
        self,
        image: str,
        dockerfile: Path,
        context: Path,
        arguments: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        reproducible: bool = True,
    ) -> None:
        """Build an image from a Dockerfile; layers that have not changed are not built again.

        Args:
            image: The image's name here, for example ``localhost/relora-operator``.
            dockerfile: The Dockerfile.
            context: The folder that it copies from.
            arguments: Values of the Dockerfile's ``ARG``.
            labels: Labels to put on the image.
            reproducible: Give every file of the new layers the same time, so that the same content has the same digest.
                Python's bytecode in them must then be of the kind that is not matched by times.

        Raises:
            DevclusterError: The build failed; the message ends with the builder's words.
        """
        # What is left of a build that failed would stay mounted on this machine.
        options = ["--layers", "--force-rm", "--network=host", f"--signature-policy={self._root}/policy.json"]
        options += [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        options += [f"--label={name}={value}" for name, value in (labels or {}).items()]
        options += ["--timestamp=0"] if reproducible else []
        run_reported(
            f"building the image {image}",
            ["buildah", "bud", *options, f"--file={dockerfile}", f"--tag={image}", str(context)],
            self._report,
            environment=self.environment,
        )

    def label(self, image: str, name: str) -> str | None:
        """Return a label of an image, or nothing where image or label do not exist."""
        done = subprocess.run(
            ["buildah", "inspect", "--type", "image", image],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
            check=False,
        )
        if done.returncode:
            return None
        labels: dict[str, str] = json.loads(done.stdout)["OCIv1"].get("config", {}).get("Labels") or {}
        return labels.get(name)

    def push(self, image: str, name: str, registry: str) -> str:
        """Copy an image to a node's registry.

        Layers go uncompressed: compressing and unpacking them costs more than the few bytes saved between two
        processes of one machine.

        Args:
            image: The image's name here.
            name: Its name there, for example ``operator``.
            registry: Host and port of the registry.

        Returns:
            How pods refer to it: ``registry.relora.local/relora/NAME@sha256:…``.

        Raises:
            DevclusterError: The copy failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            digest = Path(scratch) / "digest"
            run_reported(
                f"pushing the image {image}",
                [
                    *("skopeo", "copy", "--policy", str(self._root / "policy.json"), "--preserve-digests"),
                    *("--dest-tls-verify=false", "--digestfile", str(digest)),
                    *(f"containers-storage:{image}", f"docker://{registry}/relora/{name}"),
                ],
                self._report,
                environment=self.environment,
            )
            return f"{REGISTRY_NAME}/relora/{name}@{digest.read_text().strip()}"

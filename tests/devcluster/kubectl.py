"""Runs kubectl for tests and for the cluster's own objects."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 120


class KubectlError(Exception):
    """kubectl said no.

    Attributes:
        message: What it printed on its standard error.
    """

    def __init__(self, arguments: Sequence[str], message: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)}: {message}")
        self.message = message


def run_kubectl(program: Path, kubeconfig: Path, arguments: Sequence[str], stdin: str | None = None) -> str:
    """Run kubectl and return what it printed.

    Raises:
        KubectlError: Its exit status was not 0.
    """
    # What kubectl remembers of a server goes by its port, which may have been that of another cluster an hour ago.
    cache = kubeconfig.parent / "kubectl-cache"
    done = subprocess.run(
        [str(program), "--kubeconfig", str(kubeconfig), "--cache-dir", str(cache), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise KubectlError(arguments, done.stderr.strip())
    return done.stdout

"""The programs that a cluster is made of, and which versions of them will do."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from devcluster.paths import GO_MODULE, KWOK_MODULE


class Target(StrEnum):
    """What is built together: integration tests need not wait for the node's programs."""

    CONTROL_PLANE = "controlplane"
    NODE = "node"
    KWOK = "kwok"

    @property
    def module(self) -> Path:
        """The folder of the Go module that the programs are built from."""
        return KWOK_MODULE if self is Target.KWOK else GO_MODULE


CLUSTER_TARGETS = (Target.CONTROL_PLANE, Target.NODE)
"""What a cluster with a real node is made of."""


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        name: The file's name.
        target: The build that makes it.
        file: The file that the build makes; several Kubernetes programs are one file that looks at its own name.
        package: The Go package of that file.
        version_arguments: Arguments that print the version; none for a program that only we build.
        fits: Pattern of the versions that do, matched anywhere in what is printed.
    """

    name: str
    target: Target
    file: str
    package: str
    version_arguments: tuple[str, ...] = ()
    fits: str = ""


_KUBERNETES = r"\bv1\.36\.\d+"

PROGRAMS: tuple[Program, ...] = (
    Program(
        "etcd", Target.CONTROL_PLANE, "controlplane", "./cmd/controlplane", ("--version",), r"etcd Version: 3\.[6-9]\."
    ),
    *(
        Program(name, Target.CONTROL_PLANE, "controlplane", "./cmd/controlplane", ("--version",), _KUBERNETES)
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    Program(
        "kubectl", Target.CONTROL_PLANE, "controlplane", "./cmd/controlplane", ("version", "--client"), _KUBERNETES
    ),
    *(
        Program(name, Target.NODE, "node", "./cmd/node", ("--version",), _KUBERNETES)
        for name in ("kubelet", "kube-proxy")
    ),
    Program("coredns", Target.NODE, "coredns", "./cmd/coredns", ("-version",), r"CoreDNS-1\."),
    Program("registry", Target.NODE, "registry", "./cmd/registry", ("--version",), r"\bv3\."),
    Program("helm", Target.NODE, "helm", "helm.sh/helm/v4/cmd/helm", ("version", "--short"), r"\bv4\."),
    Program("s3gateway", Target.NODE, "s3gateway", "./cmd/s3gateway"),
    Program("pause", Target.NODE, "pause", "./cmd/pause"),
    Program("kwok", Target.KWOK, "kwok", "sigs.k8s.io/kwok/cmd/kwok", ("--version",), r"\bv?0\.8\."),
)


def programs_of(target: Target) -> tuple[Program, ...]:
    """Return the programs of one build."""
    return tuple(program for program in PROGRAMS if program.target is target)


def version_fits(program: Program, printed: str) -> bool:
    """Say whether what a program printed about its version is a version that the cluster runs with."""
    return bool(program.fits) and re.search(program.fits, printed) is not None

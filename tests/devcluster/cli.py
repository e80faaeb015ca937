"""The command line: ``python -m devcluster``."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devcluster.check import check_control_plane, check_node
from devcluster.controlplane import ControlPlane, stop_control_plane
from devcluster.debian import install_missing
from devcluster.errors import DevclusterError
from devcluster.gobuild import build
from devcluster.kubectl import KubectlError
from devcluster.node import Node, enter
from devcluster.paths import default_state
from devcluster.programs import Target
from devcluster.progress import elapsed
from devcluster.state import StateFolder, describe

_DESCRIPTION = """\
A Kubernetes 1.36 cluster on this machine, made of the real programs.

Without --node it is a control plane: etcd, API server, controller manager and scheduler. It needs no root.
With --node it is a whole node too: kubelet, containerd, CNI, kube-proxy, DNS, a registry and an S3 gateway, in mount,
process and network namespaces of its own. It needs root, and touches nothing of the host's.

Programs are taken from KUBEBUILDER_ASSETS or the PATH where their versions fit; the rest is built once from the Go
module proxy and kept in $RELORA_CACHE/devcluster (by default ~/.cache/relora/devcluster).
"""
_EPILOG = """\
examples:
  python -m devcluster check --node     can this machine run it, and what is missing?
  python -m devcluster up --node        bring it up, or say that it is up
  python -m devcluster status --node    where the API, the registry, S3 and the Services are
  python -m devcluster exec -- ip addr  run a command inside the node
  python -m devcluster down --node      stop it, and remove all but the images
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (DevclusterError, KubectlError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devcluster",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    node = argparse.ArgumentParser(add_help=False)
    node.add_argument("--node", action="store_true", help="the whole node, not only the control plane (root)")
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", type=Path, metavar="DIR", help="the cluster's folder; several may run, one in each")

    def command(name: str, run: object, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text.capitalize() + ".", parents=parents)
        added.set_defaults(run=run)
        return added

    command("up", _up, "bring the cluster up and wait until it is ready", node, state)
    command("status", _status, "say how the cluster does and where it answers", node, state)
    down = command("down", _down, "stop the cluster and remove what it ran on", node, state)
    down.add_argument("--images", action="store_true", help="remove the node's registry and pulled images too")
    inside = command("exec", _exec, "run a command inside the node's namespaces", state)
    inside.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    command("check", _check, "say whether this machine can run the cluster, and what is missing", node)
    command("build", _build, "build the cluster's programs into the cache", node)
    command("deps", _deps, "install the Debian packages that the node needs and this machine lacks (root)")
    return parser


def _up(options: argparse.Namespace) -> int:
    started = time.monotonic()
    folder = _folder(options)
    if folder.pid():
        _say("it is up already")
    elif options.node:
        Node(folder.root, _say, outlive=True).start()
        _say(f"ready in {elapsed(time.monotonic() - started)}")
    else:
        ControlPlane(folder.root, _say, outlive=True).start()
        _say(f"ready in {elapsed(time.monotonic() - started)}")
    return _status(options)


def _status(options: argparse.Namespace) -> int:
    folder = _folder(options)
    status = folder.status()
    print(describe(status))
    if status is None:
        return 1
    if options.node:
        print(Node(folder.root).endpoints().describe())
    print(f"export KUBECONFIG={folder.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    folder = _folder(options)
    if options.node:
        Node(folder.root).stop(images=options.images)
    else:
        stop_control_plane(folder)
    return 0


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise DevclusterError("give the command to run: python -m devcluster exec -- COMMAND ARGUMENT…")
    options.node = True
    inside = enter(_folder(options), command)
    os.execvp(inside[0], inside)  # noqa: S606 - the caller's own command, which takes this process' place


def _check(options: argparse.Namespace) -> int:
    print(f"control plane: {check_control_plane()}")
    if options.node:
        print(f"node: {check_node()}")
    return 0


def _build(options: argparse.Namespace) -> int:
    build(Target.CONTROL_PLANE, _say)
    if options.node:
        build(Target.NODE, _say)
    return 0


def _deps(_: argparse.Namespace) -> int:
    install_missing(_say)
    return 0


def _folder(options: argparse.Namespace) -> StateFolder:
    return StateFolder((options.state or default_state(node=options.node)).absolute())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

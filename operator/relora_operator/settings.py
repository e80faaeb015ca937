"""What can be set from outside, by flag or by environment variable."""

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from relora_operator.kube.lease import LeaseTimes
from relora_operator.loop.resync import MOST_PAUSE_SECONDS

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LOG_LEVELS: tuple[LogLevel, ...] = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The operator's settings."""

    namespace: str
    identity: str
    kubeconfig: Path | None = None
    lease_name: str = "relora-operator"
    lease_times: LeaseTimes = field(default_factory=LeaseTimes)
    resync_seconds: float = 60.0
    workers: int = 4
    writes_per_second: float = 50.0
    write_burst: int = 100
    http_port: int = 8080
    log_level: LogLevel = "INFO"


_DESCRIPTION = """\
Runs the control loop of ReLoRA: it watches BaseModelReleases, AdapterBindings, AdapterServers and TrainerProfiles,
starts the Jobs that carry adapters to a new base, and rolls serving workloads over to what passed its quality gate.

Run two replicas. One leads, by a Lease; the other takes over within 17 seconds when the leader dies, and at once when
it is stopped. It is safe to kill at any instant: everything that matters is in the API server and in the store.
"""

_EPILOGUE = """\
endpoints on --http-port:
  /healthz   fails when the leader has not compared its state with the API server for too long
  /readyz    a standby is ready, too
  /metrics   for Prometheus

examples:
  relora-operator run                                                   in a pod
  relora-operator run --kubeconfig ~/.kube/config --namespace relora    on a laptop
"""


def parse_arguments(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of a command line.

    Raises:
        SystemExit: The line is wrong, or asks for help.
    """
    return _settings(_parser(environ).parse_args(arguments))


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relora-operator", description="Kubernetes operator that re-adapts LoRA adapters to new base models."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser(
        "run",
        help="run the control loop",
        description=_DESCRIPTION,
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = run.add_argument_group("where")
    where.add_argument(
        "--kubeconfig",
        type=Path,
        default=_path(environ.get("KUBECONFIG")),
        help="file with the API server's address; default: $KUBECONFIG, else the pod's service account",
    )
    where.add_argument(
        "--namespace",
        default=environ.get("POD_NAMESPACE"),
        help="the operator's own namespace, for its Lease and the delta Jobs; default: $POD_NAMESPACE",
    )
    _add_leadership(run, environ)
    pace = run.add_argument_group("pace")
    pace.add_argument(
        "--resync-seconds",
        type=_positive,
        default=60.0,
        help="pause between comparisons with the API server (%(default)s); one that takes long is followed by a longer "
        f"one, up to {MOST_PAUSE_SECONDS:.0f}",
    )
    pace.add_argument("--workers", type=_count, default=4, help="objects that are reconciled at once (%(default)s)")
    pace.add_argument("--writes-per-second", type=_positive, default=50.0, help="limit of writes (%(default)s)")
    pace.add_argument("--write-burst", type=_count, default=100, help="writes that may pass at once (%(default)s)")
    report = run.add_argument_group("reporting")
    report.add_argument("--http-port", type=_port, default=8080, help="port of the endpoints below (%(default)s)")
    report.add_argument("--log-level", choices=LOG_LEVELS, default="INFO", help="(%(default)s)")
    return parser


def _add_leadership(run: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    leadership = run.add_argument_group("leadership")
    leadership.add_argument("--lease-name", default="relora-operator", help="name of the Lease (%(default)s)")
    leadership.add_argument(
        "--identity",
        default=environ.get("POD_NAME") or socket.gethostname(),
        help="who holds the Lease, for people; default: $POD_NAME, else the host's name",
    )
    leadership.add_argument(
        "--lease-duration-seconds",
        type=_positive,
        default=15.0,
        help="how long a standby waits for a silent leader (%(default)s); the other times follow: "
        "renewal every 2/15 of it, the leader gives up after 2/3, a request may take 1/3",
    )


def _settings(values: argparse.Namespace) -> Settings:
    if not values.namespace:
        raise SystemExit("relora-operator: the operator's namespace is unknown: set --namespace or $POD_NAMESPACE")
    duration = values.lease_duration_seconds
    return Settings(
        namespace=values.namespace,
        identity=values.identity,
        kubeconfig=values.kubeconfig,
        lease_name=values.lease_name,
        lease_times=LeaseTimes(
            duration=duration, renew_deadline=duration * 2 / 3, retry=duration * 2 / 15, timeout=duration / 3
        ),
        resync_seconds=values.resync_seconds,
        workers=values.workers,
        writes_per_second=values.writes_per_second,
        write_burst=values.write_burst,
        http_port=values.http_port,
        log_level=cast("LogLevel", values.log_level),
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:  # noqa: PLR2004 - the range of ports
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return value

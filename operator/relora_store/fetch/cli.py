"""The `relora-fetch` command: the init container of a serving workload, and its probe."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from relora_contract.request import CredentialMount
from relora_contract.wellknown import SERVING_DIRECTORY, SERVING_SET_PATH
from relora_store.errors import ConfigurationError, StoreError
from relora_store.fetch import probe
from relora_store.fetch.assembly import assemble, remove_engine_files
from relora_store.fetch.lines import LineProgress
from relora_store.fetch.serving_set import read_serving_set
from relora_store.filesystems import Filesystems
from relora_store.node_cache import NodeCache

TERMINATION_LOG = Path("/dev/termination-log")
EPILOG = """\
Credentials are the workload's own: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the cloud's identity, and
AWS_ENDPOINT_URL for a store that is not AWS's; --credentials where URIs need different ones.
Exit codes: 0 done, 42 no serving set, not found or denied, 45 a digest does not match or an adapter was made for
another base, 75 try again. On failure nothing is left that a server could be started with."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True, epilog=EPILOG)
def fetch(
    context: typer.Context,
    *,
    set_path: Annotated[
        Path, typer.Option("--set", help="The serving set: the pod's annotation, mounted by downwardAPI.")
    ] = Path(SERVING_SET_PATH),
    output: Annotated[
        Path, typer.Option("--output", help="Where to write; the server mounts the volume at the same path.")
    ] = Path(SERVING_DIRECTORY),
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            help="A folder of the node that several pods share: files are copied from it and verified instead of "
            "being downloaded again. Nothing is ever removed from it.",
        ),
    ] = None,
    credentials: Annotated[
        list[str] | None,
        typer.Option(
            "--credentials",
            metavar="PREFIX=FOLDER",
            help="Folder of a mounted Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the URIs below a "
            "prefix, as in s3://models/=/etc/models. The longest prefix wins. Repeatable.",
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", envvar="AWS_ENDPOINT_URL", help="S3 endpoint of all --credentials.")
    ] = None,
) -> None:
    """Bring the serving set of this pod to its disk, for an engine that starts with --config /relora/vllm.yaml.

    Downloads the base to <output>/base and each adapter to <output>/adapters/<served name>, verifies every digest and
    that each published adapter was made for this very base, and writes <output>/vllm.yaml, probe.py and probe.json.
    What is complete from an earlier attempt is kept.
    """
    if context.invoked_subcommand:
        return
    started = time.monotonic()
    remove_engine_files(output)
    serving_set = read_serving_set(set_path)
    _say(f"set {serving_set.digest} of release {serving_set.release}: {len(serving_set.adapters)} adapters")
    assemble(
        Filesystems([_mount(text, endpoint) for text in credentials or []]),
        serving_set,
        output,
        cache=NodeCache(cache) if cache else None,
        progress_of=lambda name: LineProgress(name, _say),
    )
    _say(f"{output} is complete after {time.monotonic() - started:.1f} s")


@app.command(
    "probe",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
    short_help="Prove that the server answers as the set's adapters (startupProbe).",
)
def run_probe(context: typer.Context) -> None:
    """Run the probe; it has its own --help."""
    sys.exit(probe.main(context.args, program="relora-fetch probe", expect=Path(SERVING_DIRECTORY, "probe.json")))


def _mount(text: str, endpoint: str | None) -> CredentialMount:
    prefix, separator, directory = text.partition("=")
    if not separator or not prefix.startswith("s3://") or not directory.startswith("/"):
        raise ConfigurationError(f"--credentials {text}: give s3://<prefix>=/<folder>")
    return CredentialMount(uri_prefix=prefix, directory=directory, endpoint=endpoint)


def _say(line: str) -> None:
    typer.echo(f"relora-fetch: {line}")


def main() -> None:
    """Run the command line. A failure is one line, on standard error and as the container's termination message."""
    try:
        app()
    except StoreError as error:
        line = f"relora-fetch: {error}"
        typer.echo(line, err=True)
        with suppress(OSError):
            if TERMINATION_LOG.exists():
                TERMINATION_LOG.write_text(line[:4096])
        sys.exit(error.exit_code)

"""The `relora` command: digests for manifests that people write, and a look into a store."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from relora_contract.artifacts import ArtifactRef, Manifest
from relora_store.digest import digest_of_uri
from relora_store.errors import ConfigurationError, StoreError
from relora_store.filesystems import Filesystems
from relora_store.manifests import read_manifest
from relora_store.progress import Progress
from relora_store.sizes import human_size

CREDENTIALS_HELP = """\
Credentials are the environment's: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the cloud's own identity,
AWS_ENDPOINT_URL for a store that is not AWS's.
Exit codes: 0 done, 2 wrong usage, 42 not found or denied, 45 forbidden or damaged content, 75 try again."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Digests and artifacts of ReLoRA, the operator that carries LoRA adapters to new base models.",
    epilog=CREDENTIALS_HELP,
)
manifest_app = typer.Typer(no_args_is_help=True, help="Look at published artifacts.")
app.add_typer(manifest_app, name="manifest")


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]


@app.command(epilog=CREDENTIALS_HELP)
def digest(
    uri: Annotated[
        str,
        typer.Argument(help="s3://bucket/key, file:///path or a local path: a folder of weights or one data file."),
    ],
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the digest that pins a base model, an adapter or a dataset file.

    The printed line is what `spec.weights.digest` of a BaseModelRelease, `spec.source.digest` and the dataset
    digests of an AdapterBinding expect. A folder's digest covers the name and every byte of all of its files;
    it does not depend on where the folder lies. Everything is read once, nothing is stored.

    Example: relora digest s3://models/smollm2-135m-r2
    """
    if "://" not in uri:
        uri = Path(uri).absolute().as_uri()
    started = time.monotonic()
    with _progress("reading") as progress:
        found = digest_of_uri(Filesystems(), uri, progress)
    if output is Output.JSON:
        files = {name: entry.to_json() for name, entry in found.files.items()}
        result = {"uri": uri, "form": found.form, "digest": found.digest, "size": found.size, "files": files}
        typer.echo(json.dumps(result, indent=2))
        return
    typer.echo(found.digest)
    seconds = time.monotonic() - started
    count = len(found.files)
    files_text = "1 file" if count == 1 else f"{count} files"
    typer.echo(f"{found.form} of {files_text}, {human_size(found.size)}, read in {seconds:.1f} s", err=True)


@manifest_app.command(epilog=CREDENTIALS_HELP)
def show(
    uri: Annotated[str, typer.Argument(help="s3://…/manifests/sha256/<64 hex>.json, as a binding's status names it.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what an artifact holds and what it was made from.

    The manifest is verified against the digest in its name; a wrong one ends with exit code 45.
    """
    manifest = read_manifest(Filesystems(), _manifest_ref(uri))
    if output is Output.JSON:
        typer.echo(json.dumps(manifest.to_json(), indent=2))
    else:
        typer.echo("\n".join(_lines(manifest)))


def _manifest_ref(uri: str) -> ArtifactRef:
    digest = f"sha256:{uri.rpartition('/')[2].removesuffix('.json')}"
    try:
        ref = ArtifactRef(uri=uri, digest=digest)
    except ValueError:
        ref = None
    if ref is None or not ref.is_manifest:
        raise ConfigurationError(f"{uri} is no manifest: its URI ends with /manifests/sha256/<64 hex digits>.json")
    return ref


def _lines(manifest: Manifest) -> Iterator[str]:
    made = manifest.provenance
    rows = {
        "kind": manifest.kind,
        "step": made.step,
        "request": made.request_digest,
        "source base": made.source_base_digest,
        "target base": made.target_base_digest,
        "from adapter": made.input_adapter_digest,
        "alpha": made.alpha,
        "beta": made.beta,
        "seed": str(made.seed),
        "code": made.code_version,
        "image": made.image,
        "fingerprints": str(len(manifest.fingerprints)),
    }
    yield from (f"{name:<13}{value}" for name, value in rows.items() if value is not None)
    yield "files"
    yield from (f"  {human_size(entry.size):>9}  {entry.digest}  {name}" for name, entry in manifest.files.items())


class _Bar:
    """A bar on the terminal, fed by several threads; hidden where standard error is no terminal."""

    def __init__(self, label: str) -> None:
        self._lock = threading.Lock()
        self._bar = typer.progressbar(length=1, label=label, file=sys.stderr)

    def begin(self, _files: int, size: int) -> None:
        """Draw the bar."""
        self._bar.length = size
        self._bar.render_progress()

    def advance(self, size: int) -> None:
        """Move the bar."""
        with self._lock:
            self._bar.update(size)

    def done(self, name: str, size: int, seconds: float, how: str) -> None:
        """Say nothing: the bar shows bytes."""

    def close(self) -> None:
        """Leave the line."""
        self._bar.render_finish()


@contextmanager
def _progress(label: str) -> Iterator[Progress]:
    bar = _Bar(label)
    try:
        yield bar
    finally:
        bar.close()


def main() -> None:
    """Run the command line."""
    try:
        app()
    except StoreError as error:
        typer.echo(f"relora: {error}", err=True)
        sys.exit(error.exit_code)

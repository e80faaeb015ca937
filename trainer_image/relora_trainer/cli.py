"""The command line of the trainer: the steps of a Job, the re-emitter of reports, and a whole run on a laptop."""

import logging
import os
import signal
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from relora_contract.exitcodes import ExitCode
from relora_contract.report import Notification, Step
from relora_contract.request import STEP_REQUEST, DeltaRequest, ReadaptationRequest
from relora_contract.wellknown import REQUEST_PATH, WORK_DIRECTORY
from relora_store.errors import StoreError
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.errors import ConfigurationError, TrainerError
from relora_trainer.execution import Ended, ended, execute, failed, missing, termination_message
from relora_trainer.local_run import read_local_run, run_locally
from relora_trainer.pages import draw_page
from relora_trainer.ports import Progress, StopSignal, SystemClock
from relora_trainer.progress import BarProgress, LoggedProgress
from relora_trainer.standing import digest_of, standing_reports, steps_of
from relora_trainer.workspace import Workspace

LOG = logging.getLogger("relora_trainer")
TERMINATION_LOG = Path("/dev/termination-log")

app = typer.Typer(
    help="Re-adapt a LoRA adapter to a new base model (ReLoRA, arXiv 2606.02606).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RequestOption = Annotated[Path, typer.Option("--request", help="The request, as JSON.")]
WorkOption = Annotated[Path, typer.Option(help="Folder that the steps of a pod share.")]
TerminationOption = Annotated[
    Path, typer.Option("--termination-log", help="Where the notification for the operator is written.")
]


@app.command()
def step(
    name: Annotated[Step, typer.Argument(help="The step to carry out.")],
    request: RequestOption = Path(REQUEST_PATH),
    work: WorkOption = Path(WORK_DIRECTORY),
    termination_log: TerminationOption = TERMINATION_LOG,
) -> None:
    """Carry out one step of a request.

    A step whose report is stored ends at once. An interrupted one continues where it stopped. Exit codes: 0 done,
    1 a fault of the trainer, 42 configuration, 43 data, 44 non-finite, 45 integrity, 46 incompatible base,
    75 temporary, 143 stopped.
    """
    _log_to_stderr()
    stop = StopSignal()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    parsed = _request_or_exit(request, name, termination_log)
    try:
        end = _execute(name, parsed, work, LoggedProgress(), stop)
    except Exception as error:  # the operator is told of any, by its type: its text may hold data
        LOG.exception("step %s", name)
        fault = f"{type(error).__name__}, a fault of the trainer or of a library: see the log of the container {name}"
        end = failed(name, digest_of(parsed), ExitCode.UNEXPECTED, fault)
    _finish(end, termination_log)


@app.command()
def report(
    name: Annotated[Step, typer.Argument(help="The step whose report is wanted.")],
    request: RequestOption = Path(REQUEST_PATH),
    work: WorkOption = Path(WORK_DIRECTORY),
    termination_log: TerminationOption = TERMINATION_LOG,
) -> None:
    """Tell a stored report again, without doing any work.

    The operator runs this when a pod was lost before its outcome was seen, and when the gates have changed: a report
    of other gates than the request's is judged anew from the stored outcomes.
    """
    _log_to_stderr()
    parsed = _request_or_exit(request, name, termination_log)
    digest = digest_of(parsed)
    try:
        store = StoreArtifacts(parsed.store_uri, parsed.credentials)
        standing = standing_reports(parsed, store, Workspace(work, store))
    except (TrainerError, StoreError) as error:
        _finish(failed(name, digest, error.exit_code, str(error)), termination_log)
    _finish(ended(standing[name]) if name in standing else missing(name, digest), termination_log)


@app.command()
def page(
    request: RequestOption = Path(REQUEST_PATH),
    out: Annotated[Path, typer.Option(help="Folder for page.html and page.png.")] = Path(),
) -> None:
    """Draw the page of a re-adaptation from its stored reports, whether it has come to its end or not.

    Credentials of the store come from the environment, as for `relora`.
    """
    _log_to_stderr(logging.WARNING)
    console = Console(stderr=True)
    try:
        parsed = STEP_REQUEST.validate_json(request.read_bytes())
        if isinstance(parsed, DeltaRequest):
            raise ConfigurationError("the request is for a delta, which has no page")
        with tempfile.TemporaryDirectory() as work:
            files = draw_page(parsed, StoreArtifacts(parsed.store_uri), Path(work))
    except (OSError, ValidationError) as error:
        console.print(f"[red]the request {request} cannot be read: {type(error).__name__}")
        raise typer.Exit(ExitCode.CONFIGURATION) from error
    except (TrainerError, StoreError) as error:
        console.print(f"[red]{error}")
        raise typer.Exit(error.exit_code) from error
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
        typer.echo(out / name)


@app.command()
def run(
    request: Annotated[
        Path,
        typer.Option(
            "--request", help="The run, as JSON: bases, adapter, dataset, task, gates, readaptation, storeUri."
        ),
    ],
    work: Annotated[Path | None, typer.Option(help="Working folder; default: a temporary one.")] = None,
) -> None:
    """Run every step of a re-adaptation on this machine, without Kubernetes.

    Digests that the file leaves out are computed. The delta of the two bases is made first when the strategy needs
    it. Running again continues where the last run stopped.
    """
    _log_to_stderr(logging.WARNING)
    console = Console(stderr=True)
    stop = StopSignal()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        local = read_local_run(request)
        with tempfile.TemporaryDirectory() as temporary, BarProgress(console) as progress:
            folder = work or Path(temporary)

            def one_step(name: Step, parsed: DeltaRequest | ReadaptationRequest) -> Ended:
                return _execute(name, parsed, folder, progress, stop)

            end = run_locally(local, one_step)
    except (TrainerError, StoreError) as error:
        console.print(f"[red]{error}")
        raise typer.Exit(error.exit_code) from error
    if end.page is not None:
        console.print(f"page: {end.page}", soft_wrap=True)
    typer.echo(end.report.model_dump_json(by_alias=True, exclude_none=True, indent=1) if end.report else "")
    raise typer.Exit(end.exit_code)


def _execute(
    name: Step, request: DeltaRequest | ReadaptationRequest, work: Path, progress: Progress, stop: StopSignal
) -> Ended:
    try:
        store = StoreArtifacts(request.store_uri, request.credentials)
    except StoreError as error:
        return failed(name, digest_of(request), error.exit_code, str(error))
    return execute(name, request, store=store, work=work, clock=SystemClock(), progress=progress, stop=stop)


def _request_or_exit(path: Path, name: Step, termination_log: Path) -> DeltaRequest | ReadaptationRequest:
    try:
        request = STEP_REQUEST.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        problem = error.strerror if isinstance(error, OSError) else f"{error.error_count()} fields are wrong"
        end = failed(
            name, "sha256:" + "0" * 64, ExitCode.CONFIGURATION, f"the request {path} cannot be read: {problem}"
        )
        _finish(end, termination_log)
    if name not in steps_of(request):
        error_text = f"step {name!r} is not one of the request's: {', '.join(steps_of(request))}"
        _finish(failed(name, digest_of(request), ConfigurationError.exit_code, error_text), termination_log)
    return request


def _finish(end: Ended, termination_log: Path) -> NoReturn:
    _notify(end.notification, termination_log)
    # Threads of the numeric libraries may not end; everything that matters is stored.
    logging.shutdown()
    os._exit(end.exit_code)


def _notify(notification: Notification, termination_log: Path) -> None:
    text = termination_message(notification)
    LOG.info("%s", text)
    try:
        termination_log.write_text(text)
    except OSError as error:
        LOG.warning("the notification could not be written to %s: %s", termination_log, error.strerror)


def _log_to_stderr(level: int = logging.INFO) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def main() -> None:
    """Run the command line."""
    app()

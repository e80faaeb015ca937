"""The subcommand `page`, with reports that were recorded and a store in a folder."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relora_contract.exitcodes import ExitCode
from relora_contract.report import Notification, StepOutcome, StepReport
from relora_contract.request import CredentialMount, ReadaptationRequest
from relora_store.filesystems import Filesystems
from relora_store.reports import publish_report
from relora_store.store import open_store
from relora_trainer.cli import app

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """The request of the recorded reports, for an empty store."""
    recorded = ReadaptationRequest.model_validate_json((RECORDED / "request.json").read_text())
    path = tmp_path / "request.json"
    moved = recorded.model_copy(update={"store_uri": f"file://{tmp_path}/store"})
    path.write_text(moved.model_dump_json(by_alias=True))
    return path


def publish(root: Path, *steps: str) -> None:
    store = open_store(Filesystems(environ={}), f"file://{root}/store")
    for step in steps:
        publish_report(store, StepReport.model_validate_json((RECORDED / f"{step}.json").read_text()))


def test_a_page_is_drawn_from_what_is_stored_so_far(tmp_path: Path, request_file: Path) -> None:
    publish(tmp_path, "port", "fuse")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["page", "--request", str(request_file), "--out", str(out)])
    assert done.exit_code == ExitCode.DONE, done.output
    assert done.stdout.split() == [f"{out}/page.html", f"{out}/page.png"]
    assert "Not ended yet: recover, refine" in (out / "page.html").read_text()
    assert (out / "page.png").read_bytes().startswith(b"\x89PNG")


def test_without_reports_there_is_no_page(tmp_path: Path, request_file: Path) -> None:
    done = CliRunner().invoke(app, ["page", "--request", str(request_file), "--out", str(tmp_path / "out")])
    assert done.exit_code == ExitCode.CONFIGURATION
    assert "has no report" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["step", "report"])
def test_a_secret_without_the_keys_of_the_store_is_told_to_the_operator(
    tmp_path: Path, request_file: Path, command: str
) -> None:
    request = ReadaptationRequest.model_validate_json(request_file.read_text())
    mount = CredentialMount(uri_prefix="s3://adapters", directory=str(tmp_path))
    of_s3 = request.model_copy(update={"store_uri": "s3://adapters/team", "credentials": [mount]})
    request_file.write_text(of_s3.model_dump_json(by_alias=True))
    told = tmp_path / "told.json"

    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("relora-trainer"), command, "port", "--request", request_file),
            *("--work", tmp_path / "work", "--termination-log", told),
        ],
        check=False,
    )

    notification = Notification.model_validate_json(told.read_text())
    assert done.returncode == ExitCode.CONFIGURATION
    assert "has no AWS_ACCESS_KEY_ID" in (notification.message or "")


def test_a_request_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["page", "--request", str(tmp_path / "none.json")])
    assert done.exit_code == ExitCode.CONFIGURATION
    assert "none.json" in done.stderr.replace("\n", "")


def test_a_fault_of_the_trainer_is_told_to_the_operator_without_its_text(
    tmp_path: Path, request_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("somebody's data")

    monkeypatch.setattr("relora_trainer.cli.execute", fail)
    monkeypatch.setattr("relora_trainer.cli.signal.signal", lambda *_: None)
    monkeypatch.setattr("relora_trainer.cli.os._exit", sys.exit)
    told = tmp_path / "told.json"
    arguments = [
        "step",
        "port",
        "--request",
        str(request_file),
        "--work",
        str(tmp_path),
        "--termination-log",
        str(told),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == ExitCode.UNEXPECTED
    notification = Notification.model_validate_json(told.read_text())
    assert (notification.outcome, notification.reason) == (StepOutcome.FAILED, "Unexpected")
    assert (notification.message or "").startswith("ZeroDivisionError, a fault of the trainer")
    assert "somebody" not in told.read_text()

"""The subcommand `page`, with reports that were recorded and a store in a folder."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from relora_contract.exitcodes import ExitCode
from relora_contract.report import StepReport
from relora_contract.request import ReadaptationRequest
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


def test_a_request_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["page", "--request", str(tmp_path / "none.json")])
    assert done.exit_code == ExitCode.CONFIGURATION
    assert "none.json" in done.stderr.replace("\n", "")

"""The shell around a step, with a store in memory and steps that a test wrote."""

import errno
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from relora_contract.artifacts import ArtifactKind, ArtifactRef, Fingerprint, Provenance
from relora_contract.digests import model_digest
from relora_contract.exitcodes import ExitCode
from relora_contract.readaptation import Plan, Refine, Strategy
from relora_contract.report import MetricValue, Notification, SplitUse, Step, StepOutcome, StepReport, Verdict
from relora_contract.request import BaseRef, DatasetRefs, ReadaptationItem, ReadaptationRequest
from relora_contract.task import Gate, Metric, Task
from relora_store.checkpoints import CheckpointArea
from relora_store.errors import TemporaryError as StoreTemporaryError
from relora_store.filesystems import Filesystems
from relora_store.names import Content
from relora_store.readings import Reading
from relora_trainer.errors import NonFiniteError
from relora_trainer.execution import Ended, StepCode, StepContext, StepResult, execute, termination_message
from relora_trainer.ports import StopSignal

DIGEST = "sha256:" + "0" * 64
REF = ArtifactRef(uri="s3://adapters/a", digest=DIGEST)


class MemoryStore:
    """Holds reports; publishes and fetches nothing. Checkpoints are real ones, in a folder."""

    def __init__(self, uri: str = "file:///nowhere") -> None:
        self.uri = uri
        self.reports: dict[str, StepReport] = {}
        self.pages: dict[str, str] = {}

    def read_report(self, request_digest: str, step: str) -> StepReport | None:
        assert request_digest == DIGEST
        return self.reports.get(step)

    def write_report(self, report: StepReport) -> StepReport:
        return self.reports.setdefault(report.step, report)

    def find_page(self, request_digest: str, step: str) -> str | None:
        assert request_digest == DIGEST
        return f"{self.uri}/{step}.html" if step in self.pages else None

    def write_page(self, request_digest: str, step: str, page: str, picture: bytes) -> str:
        self.pages[step] = page
        return f"{self.uri}/{step}.html"

    def publish(
        self, folder: Path, kind: ArtifactKind, provenance: Provenance, fingerprints: Sequence[Fingerprint] = ()
    ) -> ArtifactRef:
        raise AssertionError

    def fetch(self, ref: ArtifactRef, directory: Path, content: Content) -> Path:
        raise AssertionError

    def find_baseline(self, key: str) -> ArtifactRef | None:
        raise AssertionError

    def note_baseline(self, key: str, outcomes: ArtifactRef) -> None:
        raise AssertionError

    def note_reading(self, reading: Reading) -> SplitUse:
        raise AssertionError

    def checkpoints(self, request_digest: str, step: str) -> CheckpointArea:
        return CheckpointArea(Filesystems(environ={}), self.uri, request_digest, step)


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 1, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class Silent:
    def update(self, part: str, done: int, total: int, detail: str = "") -> None:
        pass


class Code:
    """A step that does what it is told and counts its runs."""

    def __init__(self, act: Callable[[StepContext], StepResult]) -> None:
        self.act = act
        self.runs = 0

    def run(self, context: StepContext) -> StepResult:
        self.runs += 1
        return self.act(context)


def request(*, refine: Refine = Refine.WHEN_BELOW_GATE, strategy: Strategy = Strategy.RELORA) -> ReadaptationRequest:
    base = BaseRef(release_name="r1", uri="s3://models/r1", digest=DIGEST)
    return ReadaptationRequest(
        source_base=base,
        target_base=base,
        store_uri="s3://adapters/team",
        items=[
            ReadaptationItem(
                request_digest=DIGEST,
                gates_digest=DIGEST,
                adapter=REF,
                dataset=DatasetRefs(train=REF, validation=REF, test=REF),
                task=Task(kind="CausalLM", prompt_template="{text}", completion_field="label", choices=["a", "b"]),
                gates=[Gate(metric=Metric.ACCURACY, threshold="0.8")],
                plan=Plan(refine=refine, strategy=strategy),
            )
        ],
    )


def passing(_: StepContext) -> StepResult:
    return StepResult(verdict=Verdict.PASSED, artifact=REF)


def failing(_: StepContext) -> StepResult:
    return StepResult(verdict=Verdict.FAILED)


def run(
    step: Step,
    store: MemoryStore,
    code: StepCode,
    tmp_path: Path,
    asked: ReadaptationRequest | None = None,
    *,
    stop: StopSignal | None = None,
) -> Ended:
    return execute(
        step,
        asked or request(),
        store=store,
        work=tmp_path,
        clock=FixedClock(),
        progress=Silent(),
        stop=stop or StopSignal(),
        load=lambda _: code,
    )


def test_the_report_is_stored_before_the_step_ends(tmp_path: Path) -> None:
    store = MemoryStore()
    end = run("port", store, Code(passing), tmp_path)
    assert end.exit_code is ExitCode.DONE
    assert store.reports["port"] == end.report
    assert end.notification.report_digest == model_digest(store.reports["port"])
    assert end.notification.artifact_digest == DIGEST


def test_a_stored_report_is_told_again_and_nothing_runs(tmp_path: Path) -> None:
    store, code = MemoryStore(), Code(passing)
    first = run("port", store, code, tmp_path)
    second = run("port", store, code, tmp_path)
    assert second.notification == first.notification
    assert code.runs == 1


def test_after_a_passed_gate_later_steps_are_skipped(tmp_path: Path) -> None:
    store, code = MemoryStore(), Code(passing)
    run("port", store, code, tmp_path)
    end = run("fuse", store, code, tmp_path)
    assert end.notification.outcome is StepOutcome.SKIPPED
    assert code.runs == 1
    assert run("recover", store, code, tmp_path).notification.outcome is StepOutcome.SKIPPED


def test_refine_always_runs_every_step(tmp_path: Path) -> None:
    store, code = MemoryStore(), Code(passing)
    run("port", store, code, tmp_path, request(refine=Refine.ALWAYS))
    run("fuse", store, code, tmp_path, request(refine=Refine.ALWAYS))
    assert code.runs == 2


def test_a_failed_gate_goes_on_to_the_next_step(tmp_path: Path) -> None:
    store, code = MemoryStore(), Code(failing)
    run("port", store, code, tmp_path)
    assert run("fuse", store, code, tmp_path).notification.outcome is StepOutcome.SUCCEEDED
    assert code.runs == 2


def test_a_page_is_stored_when_the_re_adaptation_has_come_to_its_end(tmp_path: Path) -> None:
    store = MemoryStore()
    assert run("port", store, Code(failing), tmp_path).page is None
    assert store.pages == {}
    end = run("fuse", store, Code(passing), tmp_path)
    assert end.page == "file:///nowhere/fuse.html"
    assert "Gate passed after fuse" in store.pages["fuse"]
    assert run("recover", store, Code(passing), tmp_path).page == end.page
    assert list(store.pages) == ["fuse"]


def test_the_last_step_ends_it_whatever_the_gate_says(tmp_path: Path) -> None:
    store = MemoryStore()
    run("port", store, Code(failing), tmp_path, request(strategy=Strategy.PORTLLM))
    assert "Gate failed after port" in store.pages["port"]


def test_a_page_that_cannot_be_stored_changes_no_outcome_and_is_stored_by_the_next_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()

    def refuse(*_: object) -> str:
        raise StoreTemporaryError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "write_page", refuse)
        end = run("port", store, Code(passing), tmp_path)
    assert (end.exit_code, end.page) == (ExitCode.DONE, None)
    assert store.reports["port"] == end.report
    assert "the page is left out" in caplog.text
    assert run("fuse", store, Code(passing), tmp_path).page is not None
    assert list(store.pages) == ["port"]


def test_a_page_that_cannot_be_drawn_changes_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("relora_trainer.page.document.page", broken)
    store = MemoryStore()
    end = run("port", store, Code(passing), tmp_path)
    assert (end.exit_code, end.page, store.pages) == (ExitCode.DONE, None, {})
    assert end.notification.verdict is Verdict.PASSED
    assert "the page is left out" in caplog.text


def test_a_step_needs_the_reports_before_it(tmp_path: Path) -> None:
    end = run("recover", MemoryStore(), Code(passing), tmp_path)
    assert end.exit_code is ExitCode.CONFIGURATION
    assert "needs the report of 'port'" in (end.notification.message or "")


def test_a_step_of_another_strategy_is_refused(tmp_path: Path) -> None:
    end = run("fuse", MemoryStore(), Code(passing), tmp_path, request(strategy=Strategy.PORTLLM))
    assert end.exit_code is ExitCode.CONFIGURATION


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [
        (NonFiniteError("step 3: the loss is NaN"), ExitCode.NON_FINITE, "NonFinite"),
        (StoreTemporaryError("the store does not answer"), ExitCode.TEMPORARY, "Temporary"),
    ],
)
def test_a_failure_stores_nothing_and_has_its_exit_code(
    tmp_path: Path, error: Exception, exit_code: ExitCode, reason: str
) -> None:
    def act(_: StepContext) -> StepResult:
        raise error

    store = MemoryStore()
    end = run("port", store, Code(act), tmp_path)
    assert (end.exit_code, end.notification.reason) == (exit_code, reason)
    assert end.notification.outcome is StepOutcome.FAILED
    assert store.reports == {}


def test_a_device_that_is_too_small_is_told_with_what_to_do(tmp_path: Path) -> None:
    def act(_: StepContext) -> StepResult:
        raise torch.OutOfMemoryError("tried to allocate 16 GiB")

    end = run("port", MemoryStore(), Code(act), tmp_path)
    assert end.exit_code is ExitCode.CONFIGURATION
    assert "lower task.maxLength" in (end.notification.message or "")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_volume_is_told_with_what_to_do(tmp_path: Path, error: Exception) -> None:
    def act(_: StepContext) -> StepResult:
        raise error

    end = run("port", MemoryStore(), Code(act), tmp_path)
    assert end.exit_code is ExitCode.TEMPORARY
    assert "raise scratchSizeLimit of the TrainerProfile" in (end.notification.message or "")


def test_a_report_tells_where_the_step_computed(tmp_path: Path) -> None:
    store = MemoryStore()
    run("port", store, Code(passing), tmp_path)
    report = store.reports["port"]
    assert {"device", "precision", "attention"} <= report.machine.keys()
    assert report.accelerator_peak_memory_bytes == (
        torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    )


class Interrupted(Code):
    """A step that writes what it has reached; the first run is stopped by SIGTERM."""

    def __init__(self, stop: StopSignal) -> None:
        super().__init__(self._act)
        self.stop = stop
        self.found: list[list[str]] = []

    def _act(self, context: StepContext) -> StepResult:
        folder = context.checkpoints.restore({}, {})
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / f"run{self.runs}.json").write_text("{}")
        if self.runs == 1:
            self.stop.set()
            context.stop.check()
        return StepResult(verdict=Verdict.FAILED)


def test_a_stopped_step_stores_a_checkpoint_that_the_next_attempt_continues_from(tmp_path: Path) -> None:
    store, stop = MemoryStore(f"file://{tmp_path}/store"), StopSignal()
    code = Interrupted(stop)
    first = run("port", store, code, tmp_path / "first", stop=stop)
    assert (first.exit_code, first.notification.reason) == (ExitCode.STOPPED, "Stopped")
    assert run("port", store, code, tmp_path / "second").exit_code is ExitCode.DONE
    assert code.found == [[], ["run1.json"]]


def test_a_stored_report_removes_the_checkpoints(tmp_path: Path) -> None:
    store, stop = MemoryStore(f"file://{tmp_path}/store"), StopSignal()
    code = Interrupted(stop)
    run("port", store, code, tmp_path / "first", stop=stop)
    assert store.checkpoints(DIGEST, "port")._objects.sizes()
    run("port", store, code, tmp_path / "second")
    assert not store.checkpoints(DIGEST, "port")._objects.sizes()


def test_a_stop_whose_checkpoint_the_store_does_not_take_is_not_told_as_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreTemporaryError("the network is gone")

    monkeypatch.setattr(CheckpointArea, "write", fail)
    stop = StopSignal()
    end = run("port", MemoryStore(f"file://{tmp_path}/store"), Interrupted(stop), tmp_path / "work", stop=stop)
    assert end.exit_code is ExitCode.TEMPORARY


def test_the_termination_message_always_fits() -> None:
    metric = MetricValue(metric=Metric.ACCURACY, value="0.812345678901", low="0.812345678901", high="0.81", count=600)
    notification = Notification(
        request_digest=DIGEST, step="port", outcome=StepOutcome.FAILED, quality=[metric] * 8, message="ü" * 300
    )
    text = termination_message(notification)
    assert len(text.encode()) <= 1536
    assert Notification.model_validate_json(text).outcome is StepOutcome.FAILED


def test_the_shell_does_not_import_torch() -> None:
    probe = "import sys, relora_trainer.execution as e; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0

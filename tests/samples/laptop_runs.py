"""A re-adaptation on a laptop: every step in this process, with a store in a folder."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from typing_extensions import override

from relora_contract.artifacts import ArtifactRef
from relora_contract.exitcodes import ExitCode
from relora_contract.report import Step, StepReport
from relora_contract.request import DeltaRequest, ReadaptationRequest
from relora_contract.serving import Engine
from relora_store.errors import StoreError
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.execution import Ended, execute
from relora_trainer.local_run import LocalRun, run_locally
from relora_trainer.ports import StopSignal, SystemClock
from samples.laptop import run_file, write_laptop


class WorkClock(SystemClock):
    """Tells the processor time of this process, so that a busy machine leaves a search no less room."""

    @override
    def monotonic(self) -> float:
        return time.process_time()


class Heard:
    """Progress that remembers how far the fit of the coefficients came, and can stop a step there."""

    def __init__(self) -> None:
        self.fit: list[tuple[int, int]] = []
        self.stop = StopSignal()
        self.stop_at: int | None = None

    def update(self, part: str, done: int, total: int, detail: str = "") -> None:
        del detail
        if part == "fit":
            self.fit.append((done, total))
            if done == self.stop_at:
                self.stop.set()


class Laptop:
    """Bases, adapter, data and store in one folder."""

    def __init__(
        self, root: Path, base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, use_dora: bool = False
    ) -> None:
        self.root = root
        self.heard = Heard()
        self.ended: dict[str, Ended] = {}
        self.engine: Engine | None = None
        """Of the server that the adapter is for."""
        write_laptop(root, base, tokenizer, use_dora=use_dora)

    def run(self, **changes: Any) -> Ended:  # noqa: ANN401 - the fields of the run file
        run = run_file(self.root, **changes)

        def one_step(step: Step, request: DeltaRequest | ReadaptationRequest) -> Ended:
            if isinstance(request, ReadaptationRequest):
                served = request.items[0].model_copy(update={"engine": self.engine})
                request = request.model_copy(update={"items": [served]})
            self.ended[step] = execute(
                step,
                request,
                store=StoreArtifacts(request.store_uri),
                work=self.root / "work",
                clock=WorkClock(),
                progress=self.heard,
                stop=self.heard.stop,
            )
            return self.ended[step]

        return run_locally(LocalRun.model_validate(run), one_step)

    def exit_code(self) -> ExitCode:
        """Return how a run of PortLLM ends; a digest that cannot be computed ends it before any step."""
        try:
            return self.run(readaptation={"strategy": "PortLLM"}).exit_code
        except StoreError as error:
            return error.exit_code

    def stored(self, artifact: ArtifactRef | None, name: str) -> bytes:
        """Return a file of a published artifact."""
        assert artifact is not None
        manifest = json.loads(Path(artifact.uri.removeprefix("file://")).read_text())
        digest = str(manifest["files"][name]["digest"]).removeprefix("sha256:")
        return (self.root / "store" / "blobs" / "sha256" / digest).read_bytes()

    def published(self, step: str) -> Path:
        """Return a folder with what a step published."""
        artifact = self.report(step).artifact
        assert artifact is not None
        folder = self.root / f"published-{step}"
        folder.mkdir(exist_ok=True)
        for name in json.loads(Path(artifact.uri.removeprefix("file://")).read_text())["files"]:
            (folder / name).write_bytes(self.stored(artifact, name))
        return folder

    def report(self, step: str) -> StepReport:
        report = self.ended[step].report
        assert report is not None, self.ended[step].notification
        return report

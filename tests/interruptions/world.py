"""One re-adaptation of a tiny adapter: its requests, and what its store holds after each step."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interruptions.trainer import Attempt, Trainer
from relora_contract.artifacts import ArtifactRef, Manifest, manifest_ref
from relora_contract.digests import sha256_digest
from relora_contract.report import Step, StepReport
from relora_contract.request import STEP_REQUEST, DeltaRequest, ReadaptationRequest
from relora_store.blobs import blob_key
from relora_trainer.execution import Ended, ended
from relora_trainer.local_run import LocalRun, run_locally
from samples.laptop import run_file
from samples.places import Place

Contents = dict[str, bytes]
TIMES = ("seconds", "peakMemoryBytes", "startTime", "endTime")
"""What two runs of one step may differ in."""
STORE = b"STORE"
PAGES = (".html", ".png")


def contents(place: Place) -> Contents:
    """Return every object of a store, without what a killed writer left under a name of its own."""
    keys = [key for key in place.objects.sizes() if not key.rpartition("/")[2].startswith(".")]
    return {key: place.objects.read(key, 10**8) for key in keys}


def comparable(stored: Mapping[str, bytes], uri: str) -> Contents:
    """Return the objects of a store as they would be in any other place and at any other time."""
    return {key: _comparable(key, data, uri) for key, data in stored.items()}


def _comparable(key: str, data: bytes, uri: str) -> bytes:
    if key.endswith(PAGES):
        return b"a page, which shows times"
    placeless = data.replace(uri.encode(), STORE)
    return _timeless(placeless) if key.startswith("reports/") else placeless


def _timeless(data: bytes) -> bytes:
    report = json.loads(data)
    return json.dumps({name: value for name, value in report.items() if name not in TIMES}).encode()


def check_whole(place: Place) -> None:
    """Check that a store has nothing half published: what is named is there, whole."""
    stored = contents(place)
    for key, data in stored.items():
        if key.startswith("manifests/"):
            assert manifest_ref(place.uri, sha256_digest(data)).uri == f"{place.uri}/{key}"
            for entry in Manifest.model_validate_json(data).files.values():
                assert sha256_digest(stored[blob_key(entry.digest)]) == entry.digest
        if key.startswith("baselines/"):
            assert ArtifactRef.model_validate_json(data).uri.removeprefix(f"{place.uri}/") in stored
        if key.startswith("reports/") and not key.endswith(PAGES):
            report = StepReport.model_validate_json(data)
            for ref in (report.artifact, report.training_state, report.outcomes, report.reference_outcomes):
                assert ref is None or ref.uri.removeprefix(f"{place.uri}/") in stored


@dataclass(frozen=True)
class Mark:
    """The store before and after a step, and what the step did between."""

    before: Contents
    after: Contents
    attempt: Attempt


class World:
    """A re-adaptation that was run once without an interruption, in a store of its own."""

    def __init__(self, root: Path, trainer: Trainer, laptop: Path, reference: Place, **readaptation: object) -> None:
        self.marks: dict[str, Mark] = {}
        self._root = root
        self._trainer = trainer
        self._reference = reference
        self._requests: dict[str, DeltaRequest | ReadaptationRequest] = {}
        self._count = 0
        run = LocalRun.model_validate(run_file(laptop, storeUri=reference.uri, **readaptation))
        run_locally(run, self._first_run)

    def _first_run(self, step: Step, request: DeltaRequest | ReadaptationRequest) -> Ended:
        self._requests[step] = request
        before = contents(self._reference)
        attempt = self.attempt(step, self._reference)
        assert attempt.code == 0, attempt.log
        after = contents(self._reference)
        self.marks[step] = Mark(before, after, attempt)
        # A step with nothing to do stores no report; whoever asks is content with the one before.
        return ended(self.report(step if after != before else list(self.marks)[-2]))

    def report(self, step: str) -> StepReport:
        """Return the report of the uninterrupted run."""
        [data] = [data for key, data in self.marks[step].after.items() if key.endswith(f"/{step}.json")]
        return StepReport.model_validate_json(data)

    def points(self, step: str, place: Place) -> list[str]:
        """Return the points that a step comes to in a place of this kind: a bucket makes no links."""
        names = self.marks[step].attempt.points
        return names if place.uri.startswith("file://") else [name for name in names if not name.startswith("disk: ")]

    def prepare(self, place: Place, step: str) -> None:
        """Put into an empty store what was there before a step."""
        for key, data in self.marks[step].before.items():
            place.objects.create(key, data.replace(self._reference.uri.encode(), place.uri.encode()))

    def attempt(self, step: str, place: Place, **interruption: object) -> Attempt:
        """Make an attempt at a step, in a pod of its own."""
        self._count += 1
        folder = self._root / f"attempt{self._count}"
        request = self.write_request(step, place, self._root / f"request{self._count}.json")
        return self._trainer.attempt(step, request, folder, **interruption)  # type: ignore[arg-type] # passed on

    def write_request(self, step: str, place: Place, path: Path) -> Path:
        """Write the request of a step as the operator does."""
        request = self._requests[step]
        changes: dict[str, object] = {"store_uri": place.uri, "credentials": list(place.filesystems._credentials)}
        if isinstance(request, ReadaptationRequest) and request.delta is not None:
            changes["delta"] = manifest_ref(place.uri, request.delta.digest)
        path.write_bytes(STEP_REQUEST.dump_json(request.model_copy(update=changes), by_alias=True))
        return path

    def check_equal(self, place: Place, step: str, log: str = "") -> None:
        """Check that a store holds after a step what it holds after an uninterrupted one, bit by bit."""
        check_whole(place)
        found = comparable(contents(place), place.uri)
        wanted = comparable(self.marks[step].after, self._reference.uri)
        keys = sorted(found.keys() | wanted.keys())
        differing = {key: (found.get(key), wanted.get(key)) for key in keys if found.get(key) != wanted.get(key)}
        assert not differing, f"{differing}\n{log}"

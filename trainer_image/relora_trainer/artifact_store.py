"""The steps' store on top of `relora_store`."""

from collections.abc import Sequence
from pathlib import Path

from relora_contract.artifacts import ArtifactKind, ArtifactRef, Fingerprint, Provenance
from relora_contract.report import SplitUse, StepReport
from relora_contract.request import CredentialMount
from relora_store.baselines import find_baseline, note_baseline
from relora_store.checkpoints import CheckpointArea
from relora_store.fetching import fetch_artifact
from relora_store.filesystems import Filesystems
from relora_store.manifests import publish_folder
from relora_store.names import Content
from relora_store.readings import Reading, note_reading
from relora_store.reports import find_page, publish_page, publish_report, read_report
from relora_store.store import open_store


class StoreArtifacts:
    """Reads anywhere that the credentials reach; writes below one store's root."""

    def __init__(
        self, uri: str, credentials: Sequence[CredentialMount] = (), *, filesystems: Filesystems | None = None
    ) -> None:
        self._filesystems = filesystems or Filesystems(credentials)
        self._store = open_store(self._filesystems, uri)

    def read_report(self, request_digest: str, step: str) -> StepReport | None:
        """Return the stored report of a step, if there is one."""
        stored = read_report(self._store, request_digest, step)
        return stored.report if stored else None

    def write_report(self, report: StepReport) -> StepReport:
        """Store a report, once. Return the one that is stored: an earlier one wins."""
        return publish_report(self._store, report).report

    def find_page(self, request_digest: str, step: str) -> str | None:
        """Return the URI of the page of a re-adaptation that ended with `step`, if it is stored."""
        return find_page(self._store, request_digest, step)

    def write_page(self, request_digest: str, step: str, page: str, picture: bytes) -> str:
        """Store a page and its picture, once, and return the page's URI; earlier ones win."""
        return publish_page(self._store, request_digest, step, page.encode(), picture)

    def publish(
        self, folder: Path, kind: ArtifactKind, provenance: Provenance, fingerprints: Sequence[Fingerprint] = ()
    ) -> ArtifactRef:
        """Store every file of `folder`, then a manifest that lists them."""
        return publish_folder(self._store, folder, kind=kind, provenance=provenance, fingerprints=fingerprints)

    def fetch(self, ref: ArtifactRef, directory: Path, content: Content) -> Path:
        """Bring a verified artifact to `directory`. Return the folder, or the file of a single-file artifact."""
        return fetch_artifact(self._filesystems, ref, directory, content).path

    def find_baseline(self, key: str) -> ArtifactRef | None:
        """Return the outcomes of an adapter on its own base that an earlier request measured, or None."""
        return find_baseline(self._store, key)

    def note_baseline(self, key: str, outcomes: ArtifactRef) -> None:
        """Note where the outcomes of an adapter on its own base lie."""
        note_baseline(self._store, key, outcomes)

    def note_reading(self, reading: Reading) -> SplitUse:
        """Record that gates are asked on a file of test examples, and return the file's other readings."""
        return note_reading(self._filesystems, self._store.uri, reading)

    def checkpoints(self, request_digest: str, step: str) -> CheckpointArea:
        """Return the part of the store that is for the checkpoints of a step."""
        return CheckpointArea(self._filesystems, self._store.uri, request_digest, step)

"""The folder that all steps of a pod share: what was fetched once is there for the next step."""

from dataclasses import dataclass
from pathlib import Path

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_contract.request import ReadaptationItem
from relora_store.errors import NotFoundError
from relora_store.names import Content
from relora_trainer.datasets import Parts, read_examples, split
from relora_trainer.errors import DataError
from relora_trainer.ports import ArtifactStore

SHORT = 16


@dataclass(frozen=True)
class Workspace:
    """Fetches artifacts into folders named by their digests."""

    root: Path
    store: ArtifactStore

    def base(self, ref: ArtifactRef) -> Path:
        """Return the folder of a base's weights."""
        return self._fetch(ref, "bases", Content.BASE)

    def adapter(self, ref: ArtifactRef) -> Path:
        """Return the folder of an adapter."""
        return self._fetch(ref, "adapters", Content.ADAPTER)

    def state(self, ref: ArtifactRef) -> Path:
        """Return the folder of a delta, a training state or recorded outcomes."""
        return self._fetch(ref, "states", Content.STATE)

    def parts(self, item: ReadaptationItem) -> Parts:
        """Return the disjoint parts of an item's dataset."""
        dataset = item.dataset
        train, validation, test = (
            read_examples(self._data(name, ref), item.task)
            for name, ref in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test))
        )
        return split(train, validation, test, search_items=item.plan.validation_samples)

    def _data(self, name: str, ref: ArtifactRef) -> Path:
        try:
            return self._fetch(ref, f"data/{name}", Content.DATA)
        except NotFoundError as error:
            raise DataError(f"task.dataset.{name}: {error}") from error

    def scratch(self, name: str) -> Path:
        """Return a folder of the step's own; it may hold what an interrupted run left."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _fetch(self, ref: ArtifactRef, kind: str, content: Content) -> Path:
        return self.store.fetch(ref, self.root / kind / hex_part(ref.digest)[:SHORT], content)

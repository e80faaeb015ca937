"""Publication: write-once, the manifest last, whoever else writes and whatever fails."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier, Lock

import pytest

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import hex_part
from relora_store.blobs import blob_key, put_blob
from relora_store.errors import IntegrityError, StoreError, TemporaryError
from relora_store.manifests import publish_file, publish_folder, read_manifest
from relora_store.objects import Objects
from relora_store.store import Store, create_or_read, read_record
from samples.artifacts import D1, fingerprint, provenance, write_adapter
from samples.places import Place


def publish(store: Store, folder: Path) -> ArtifactRef:
    return publish_folder(store, folder, kind="Adapter", provenance=provenance())


def test_an_artifact_is_blobs_and_a_manifest(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    prints = [fingerprint([1, 2], {3: "-0.5"}, {3: "-1.5"})]
    ref = publish_folder(place.store, folder, kind="Adapter", provenance=provenance(), fingerprints=prints)
    manifest = read_manifest(place.filesystems, ref)
    assert ref.uri == f"{place.uri}/manifests/sha256/{hex_part(ref.digest)}.json"
    assert ref.is_manifest
    assert manifest.kind == "Adapter"
    assert manifest.provenance == provenance()
    assert manifest.fingerprints == prints
    assert set(manifest.files) == {"adapter_config.json", "adapter_model.safetensors"}
    for name, entry in manifest.files.items():
        assert place.objects.read(blob_key(entry.digest), 10**6) == (folder / name).read_bytes()


def test_publishing_again_changes_nothing(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    first = publish(place.store, folder)
    before = place.objects.sizes()
    assert publish(place.store, folder) == first
    assert place.objects.sizes() == before


def test_the_digest_depends_on_files_and_provenance(local_place: Place, tmp_path: Path) -> None:
    first = publish(local_place.store, write_adapter(tmp_path / "a"))
    second = publish(local_place.store, write_adapter(tmp_path / "b", fill=b"\1"))
    other = publish_folder(local_place.store, tmp_path / "a", kind="Adapter", provenance=provenance(D1))
    assert len({first.digest, second.digest, other.digest}) == 3


def test_eight_publishers_of_one_artifact_agree(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    together = Barrier(8)

    def run(_: int) -> ArtifactRef:
        together.wait()
        return publish(place.store, folder)

    with ThreadPoolExecutor(8) as pool:
        refs = set(pool.map(lambda number: run(number).digest, range(8)))
    assert len(refs) == 1
    assert len(place.objects.sizes()) == 3


def test_eight_writers_of_one_record_are_told_the_same(place: Place) -> None:
    for attempt in range(5):
        together = Barrier(8)

        def run(number: int, key: str = f"records/{attempt}", together: Barrier = together) -> tuple[bytes, bytes]:
            mine = b"x" * (number + 1)
            together.wait()
            return mine, create_or_read(place.store, key, mine)

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(run, range(8)))
        stored = {told for _, told in outcomes}
        assert len(stored) == 1
        assert read_record(place.store, f"records/{attempt}") in stored


def test_a_missing_record_is_none(place: Place) -> None:
    assert read_record(place.store, "records/none") is None


def test_a_damaged_blob_is_not_built_upon(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    entry = put_blob(place.objects, folder / "adapter_config.json")
    for damaged in (b"x", b"x" * entry.size):
        place.put(blob_key(entry.digest), damaged)
        with pytest.raises(IntegrityError, match="expected"):
            publish(place.store, folder)
        assert not any("manifests" in key for key in place.objects.sizes())


def test_a_manifest_in_the_place_of_another_is_an_error(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    ref = publish(place.store, folder)
    place.put(ref.uri.removeprefix(f"{place.uri}/"), b"{}")
    with pytest.raises(IntegrityError, match="remove it"):
        publish(place.store, folder)
    with pytest.raises(IntegrityError, match="expected is"):
        read_manifest(place.filesystems, ref)


def test_a_manifest_is_read_from_its_own_place_only(local_place: Place, tmp_path: Path) -> None:
    ref = publish(local_place.store, write_adapter(tmp_path / "adapter"))
    for uri in (ref.uri + "x", ref.uri.replace("manifests/sha256/", "manifests/sha256/../sha256/")):
        with pytest.raises(IntegrityError, match="not the place"):
            read_manifest(local_place.filesystems, ArtifactRef(uri=uri, digest=ref.digest))


def test_a_data_file_is_published_as_a_blob(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outcomes.jsonl").write_text("{}\n")
    ref = publish_file(place.store, tmp_path / "outcomes.jsonl")
    assert place.filesystems.open(ref.uri).read("", 100) == b"{}\n"


@dataclass
class Breaking:
    """A store whose k-th call fails, before or after it took effect."""

    inner: Objects
    fails_at: int
    takes_effect: bool
    calls: int = 0
    lock: Lock = field(default_factory=Lock)

    def _call(self, call: Callable[[], object]) -> object:
        with self.lock:
            self.calls += 1
            broken = self.calls == self.fails_at
        if broken:
            if self.takes_effect:
                call()
            raise TemporaryError("the network is gone")
        return call()

    def size(self, key: str) -> int:
        size = self._call(lambda: self.inner.size(key))
        assert isinstance(size, int)
        return size

    def sizes(self) -> dict[str, int]:
        raise AssertionError("publication lists nothing")

    def read(self, key: str, limit: int) -> bytes:
        data = self._call(lambda: self.inner.read(key, limit))
        assert isinstance(data, bytes)
        return data

    def stream(self, key: str, size: int) -> Iterator[bytes]:
        self._call(lambda: None)
        yield from self.inner.stream(key, size)

    def create(self, key: str, data: bytes) -> None:
        self._call(lambda: self.inner.create(key, data))

    def create_from_file(self, key: str, path: Path, digest: str) -> None:
        self._call(lambda: self.inner.create_from_file(key, path, digest))

    def remove(self, key: str) -> None:
        raise AssertionError("publication removes nothing")


@pytest.mark.parametrize("takes_effect", [False, True])
def test_no_failure_leaves_a_manifest_without_its_blobs(place: Place, tmp_path: Path, *, takes_effect: bool) -> None:
    for fails_at in range(1, 100):
        folder = write_adapter(tmp_path / f"adapter{fails_at}", fill=bytes([fails_at]))
        root = replace(place, uri=f"{place.uri}/{fails_at}")
        breaking = Breaking(root.objects, fails_at, takes_effect=takes_effect)
        try:
            ref = publish(Store(root.uri, breaking), folder)
        except StoreError:
            ref = None
        sizes = root.objects.sizes()
        manifests = [key for key in sizes if key.startswith("manifests/")]
        if manifests:
            digest = f"sha256:{manifests[0].rpartition('/')[2].removesuffix('.json')}"
            stored = read_manifest(root.filesystems, ArtifactRef(uri=f"{root.uri}/{manifests[0]}", digest=digest))
            assert {blob_key(entry.digest) for entry in stored.files.values()} <= set(sizes)
        publish(root.store, folder)  # a second attempt repairs it
        if breaking.calls < fails_at:
            assert ref is not None
            return
    raise AssertionError("the publication never came through")

"""Fetching: three forms of references, verified, resumable, not twice."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import FileEntry, folder_digest, sha256_digest
from relora_store import transfer
from relora_store.blobs import blob_key
from relora_store.errors import IntegrityError, NotFoundError, TemporaryError
from relora_store.fetching import fetch_artifact, read_file
from relora_store.filesystems import Filesystems
from relora_store.local_objects import LocalObjects
from relora_store.localfiles import file_digest
from relora_store.manifests import publish_file, publish_folder
from relora_store.names import Content
from relora_store.node_cache import NodeCache
from relora_store.objects import Objects
from samples.artifacts import D1, provenance, write_adapter, write_base
from samples.places import Place


@dataclass
class Told:
    """Progress that is remembered."""

    total: int = 0
    advanced: int = 0
    how: dict[str, str] = field(default_factory=dict)

    def begin(self, files: int, size: int) -> None:
        self.total = size

    def advance(self, size: int) -> None:
        self.advanced += size

    def done(self, name: str, size: int, seconds: float, how: str) -> None:
        self.how[name] = how


def offline() -> Filesystems:
    """Return filesystems that fail the test when they are asked for anything."""

    class Offline(Filesystems):
        def open(self, uri: str) -> Objects:
            raise AssertionError(f"{uri} was opened")

    return Offline(environ={})


def put_folder(place: Place, folder: Path, name: str) -> ArtifactRef:
    """Upload a folder as its owner would, and return its reference."""
    files = {}
    for key in LocalObjects(folder).sizes():
        files[key] = FileEntry(size=(folder / key).stat().st_size, digest=file_digest(folder / key))
        place.put(f"{name}/{key}", (folder / key).read_bytes())
    return ArtifactRef(uri=f"{place.uri}/{name}", digest=folder_digest(files))


def put_manifest(place: Place, folder: Path) -> ArtifactRef:
    return publish_folder(place.store, folder, kind="Adapter", provenance=provenance())


def put_data(place: Place, text: str = '{"a": 1}\n') -> ArtifactRef:
    place.put("train.jsonl", text.encode())
    return ArtifactRef(uri=f"{place.uri}/train.jsonl", digest=sha256_digest(text.encode()))


def same(left: Path, right: Path) -> bool:
    names = {name for name in LocalObjects(left).sizes() if name != ".verified"}
    return names == {name for name in LocalObjects(right).sizes() if name != ".verified"} and all(
        (left / name).read_bytes() == (right / name).read_bytes() for name in names
    )


def test_a_manifest_is_fetched(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    told = Told()
    fetched = fetch_artifact(
        place.filesystems, put_manifest(place, folder), tmp_path / "here", Content.ADAPTER, progress=told
    )
    assert fetched.path == tmp_path / "here"
    assert fetched.manifest is not None
    assert fetched.manifest.provenance == provenance()
    assert same(folder, fetched.path)
    assert told.total == told.advanced == sum(entry.size for entry in fetched.files.values())
    assert set(told.how.values()) == {"downloaded"}


def test_a_folder_is_fetched(place: Place, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", nested=True)
    ref = put_folder(place, folder, "bases/r1")
    fetched = fetch_artifact(place.filesystems, ref, tmp_path / "here", Content.BASE)
    assert fetched.manifest is None
    assert "templates/chat.jinja" in fetched.files
    assert same(folder, fetched.path)


def test_a_data_file_is_fetched(place: Place, tmp_path: Path) -> None:
    fetched = fetch_artifact(place.filesystems, put_data(place), tmp_path / "here", Content.DATA)
    assert fetched.path == tmp_path / "here" / "train.jsonl"
    assert fetched.path.read_text() == '{"a": 1}\n'


def test_a_small_file_is_read_and_verified(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outcomes").write_bytes(b"101")
    ref = publish_file(place.store, tmp_path / "outcomes")
    assert read_file(place.filesystems, ref, 10) == b"101"
    with pytest.raises(IntegrityError, match="expected is"):
        read_file(place.filesystems, ArtifactRef(uri=ref.uri, digest=D1), 10)
    with pytest.raises(IntegrityError, match="larger"):
        read_file(place.filesystems, ref, 2)


@pytest.mark.parametrize("content", [Content.ADAPTER, Content.DATA])
def test_the_second_time_asks_for_nothing(place: Place, tmp_path: Path, content: Content) -> None:
    ref = put_data(place) if content is Content.DATA else put_manifest(place, write_adapter(tmp_path / "adapter"))
    first = fetch_artifact(place.filesystems, ref, tmp_path / "here", content)
    assert fetch_artifact(offline(), ref, tmp_path / "here", content) == first


def test_a_file_that_changed_since_is_fetched_again(local_place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    ref = put_manifest(local_place, folder)
    here = tmp_path / "here"
    fetch_artifact(local_place.filesystems, ref, here, Content.ADAPTER)
    size = (here / "adapter_config.json").stat().st_size
    (here / "adapter_config.json").write_bytes(b"x" * size)
    told = Told()
    fetch_artifact(local_place.filesystems, ref, here, Content.ADAPTER, progress=told)
    assert told.how == {"adapter_config.json": "downloaded", "adapter_model.safetensors": "kept"}
    assert same(folder, here)


def test_a_forged_ledger_with_another_manifest_is_refused(local_place: Place, tmp_path: Path) -> None:
    ref = put_manifest(local_place, write_adapter(tmp_path / "adapter"))
    here = tmp_path / "here"
    fetch_artifact(local_place.filesystems, ref, here, Content.ADAPTER)
    ledger = here / ".verified"
    ledger.write_text(ledger.read_text().replace("port", "fuse"))
    with pytest.raises(IntegrityError, match="expected is"):
        fetch_artifact(local_place.filesystems, ref, here, Content.ADAPTER)


def test_the_folder_belongs_to_the_artifact_alone(place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    here = tmp_path / "here"
    (here / "old" / "deep").mkdir(parents=True)
    (here / "old" / "deep" / "x.json").write_text("{}")
    (here / "adapter_config.json").mkdir()
    (here / "link").symlink_to(tmp_path)
    (here / ".part-abc").write_text("cut")
    fetch_artifact(place.filesystems, put_manifest(place, folder), here, Content.ADAPTER)
    assert same(folder, here)


def test_another_version_of_the_same_names_and_sizes_is_replaced(place: Place, tmp_path: Path) -> None:
    old = put_folder(place, write_adapter(tmp_path / "old"), "old")
    new = put_folder(place, write_adapter(tmp_path / "new", fill=b"\1"), "new")
    here = tmp_path / "here"
    fetch_artifact(place.filesystems, old, here, Content.ADAPTER)
    fetch_artifact(place.filesystems, new, here, Content.ADAPTER)
    assert same(tmp_path / "new", here)


@pytest.mark.parametrize("form", ["manifest", "folder", "data"])
@pytest.mark.parametrize("damage", ["same size", "shorter", "longer"])
def test_damaged_bytes_are_never_left_behind(place: Place, tmp_path: Path, form: str, damage: str) -> None:
    folder = write_adapter(tmp_path / "adapter")
    content = Content.ADAPTER
    if form == "manifest":
        ref = put_manifest(place, folder)
        key = blob_key(file_digest(folder / "adapter_config.json"))
    elif form == "folder":
        ref, key = put_folder(place, folder, "f"), "f/adapter_config.json"
    else:
        ref, key, content = put_data(place), "train.jsonl", Content.DATA
    size = place.objects.size(key)
    place.put(key, b" " * (size + {"same size": 0, "shorter": -1, "longer": 1}[damage]))
    with pytest.raises(IntegrityError, match="expected"):
        fetch_artifact(place.filesystems, ref, tmp_path / "here", content)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_renamed_file_changes_a_folders_digest(place: Place, tmp_path: Path) -> None:
    ref = put_folder(place, write_adapter(tmp_path / "adapter"), "f")
    data = place.objects.read("f/adapter_config.json", 10_000)
    place.remove("f/adapter_config.json")
    place.put("f/config2.json", data)
    with pytest.raises(IntegrityError, match="has digest"):
        fetch_artifact(place.filesystems, ref, tmp_path / "here", Content.ADAPTER)


def test_what_is_missing_is_named(place: Place, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with pytest.raises(NotFoundError, match="holds no files"):
        fetch_artifact(place.filesystems, ArtifactRef(uri=f"{place.uri}/x", digest=D1), here, Content.BASE)
    with pytest.raises(NotFoundError, match=r"x\.jsonl"):
        fetch_artifact(place.filesystems, ArtifactRef(uri=f"{place.uri}/x.jsonl", digest=D1), here, Content.DATA)
    ref = put_manifest(place, write_adapter(tmp_path / "adapter"))
    place.remove(blob_key(file_digest(tmp_path / "adapter" / "adapter_config.json")))
    with pytest.raises(NotFoundError):
        fetch_artifact(place.filesystems, ref, here, Content.ADAPTER)


class Failing(Filesystems):
    """Filesystems in which one object's stream breaks half way, once."""

    def __init__(self, key: str) -> None:
        super().__init__(environ={})
        self.key = key
        self.streamed: list[str] = []
        self.broken = False

    def open(self, uri: str) -> Objects:
        outer = self

        class Broken(LocalObjects):
            def stream(self, key: str, size: int) -> Iterator[bytes]:
                outer.streamed.append(key)
                for chunk in super().stream(key, size):
                    if key == outer.key and not outer.broken:
                        outer.broken = True
                        yield chunk[: len(chunk) // 2]
                        raise TemporaryError("the network is gone")
                    yield chunk

        return Broken(Path(uri.removeprefix("file://")))


def test_an_interrupted_fetch_continues_with_what_is_missing(
    local_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "DOWNLOADS", 1)
    folder = write_adapter(tmp_path / "adapter")
    ref = put_manifest(local_place, folder)
    config = blob_key(file_digest(folder / "adapter_config.json"))
    weights = blob_key(file_digest(folder / "adapter_model.safetensors"))
    filesystems = Failing(config)
    here = tmp_path / "here"
    with pytest.raises(TemporaryError):
        fetch_artifact(filesystems, ref, here, Content.ADAPTER)
    assert not any(path.name.startswith((".part", "adapter_config", ".verified")) for path in here.iterdir())
    fetch_artifact(filesystems, ref, here, Content.ADAPTER)
    assert filesystems.streamed == [weights, config, config]
    assert same(folder, here)


def test_a_full_disk_is_temporary(local_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    ref = put_manifest(local_place, write_adapter(tmp_path / "adapter"))
    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(TemporaryError, match="No space left"):
        fetch_artifact(local_place.filesystems, ref, tmp_path / "here", Content.ADAPTER)


@pytest.mark.parametrize("form", ["manifest", "folder"])
def test_a_second_pod_on_the_node_takes_files_from_the_cache(local_place: Place, tmp_path: Path, form: str) -> None:
    folder = write_adapter(tmp_path / "adapter")
    ref = put_manifest(local_place, folder) if form == "manifest" else put_folder(local_place, folder, "f")
    cache = NodeCache(tmp_path / "cache")
    fetch_artifact(local_place.filesystems, ref, tmp_path / "one", Content.ADAPTER, cache=cache)
    shutil.rmtree(tmp_path / "store" / ("blobs" if form == "manifest" else "f"))
    told = Told()
    fetch_artifact(local_place.filesystems, ref, tmp_path / "two", Content.ADAPTER, cache=cache, progress=told)
    assert set(told.how.values()) == {"cache"}
    assert same(folder, tmp_path / "two")
    one, two = (tmp_path / name / "adapter_config.json" for name in ("one", "two"))
    assert one.stat().st_ino != two.stat().st_ino


@pytest.mark.parametrize("form", ["manifest", "folder"])
def test_a_damaged_cache_is_noticed_and_mended(local_place: Place, tmp_path: Path, form: str) -> None:
    folder = write_adapter(tmp_path / "adapter")
    ref = put_manifest(local_place, folder) if form == "manifest" else put_folder(local_place, folder, "f")
    cache = NodeCache(tmp_path / "cache")
    fetch_artifact(local_place.filesystems, ref, tmp_path / "one", Content.ADAPTER, cache=cache)
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(b"x" * path.stat().st_size)
    told = Told()
    fetch_artifact(local_place.filesystems, ref, tmp_path / "two", Content.ADAPTER, cache=cache, progress=told)
    assert set(told.how.values()) == {"downloaded"}
    assert same(folder, tmp_path / "two")


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_manifest_with_a_wrong_size_does_not_take_another_tenants_file_from_the_cache(
    tmp_path: Path, size: int
) -> None:
    (tmp_path / "whole").write_bytes(b"whole")
    cache = NodeCache(tmp_path / "cache")
    entry = FileEntry(size=5, digest=file_digest(tmp_path / "whole"))
    cache.offer(entry, tmp_path / "whole")

    assert not cache.take(entry.model_copy(update={"size": size}), tmp_path / "other", lambda _: None)
    assert cache.take(entry, tmp_path / "mine", lambda _: None)


def test_a_manifest_object_without_content_is_refused(local_place: Place, tmp_path: Path) -> None:
    ref = put_manifest(local_place, write_adapter(tmp_path / "adapter"))
    key = ref.uri.removeprefix(f"{local_place.uri}/")
    local_place.put(key, b"")
    with pytest.raises(IntegrityError, match="has digest"):
        fetch_artifact(local_place.filesystems, ref, tmp_path / "here", Content.ADAPTER)


def test_a_cache_that_cannot_be_written_is_no_obstacle(local_place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    ref = put_manifest(local_place, folder)
    (tmp_path / "cache").write_text("a file, not a folder")
    fetch_artifact(
        local_place.filesystems, ref, tmp_path / "here", Content.ADAPTER, cache=NodeCache(tmp_path / "cache")
    )
    assert same(folder, tmp_path / "here")

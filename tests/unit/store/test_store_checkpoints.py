"""Checkpoints: the newest whole one that fits, verified; old ones go, and nothing else does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from relora_contract.digests import hex_part
from relora_store.blobs import blob_key
from relora_store.checkpoints import Checkpoint, CheckpointArea
from relora_store.errors import DeniedError, StoreError, TemporaryError
from relora_store.filesystems import Filesystems
from relora_store.manifests import publish_folder
from relora_store.objects import Objects
from samples.artifacts import D1, D2, D3, provenance, safetensors, write_adapter
from samples.places import Place

CONDITIONS = {"relora": "0.1.0"}
MACHINE = {"device": "AVX2"}
ROOT = f"checkpoints/{hex_part(D1)}/recover"


def area(place: Place, request: str = D1, step: str = "recover") -> CheckpointArea:
    return CheckpointArea(place.filesystems, place.uri, request, step)


def state(folder: Path, number: int) -> Path:
    """Write the files of a checkpoint: one changes with its number, one never does."""
    (folder / "tuning").mkdir(parents=True, exist_ok=True)
    (folder / "tuning" / "state.safetensors").write_bytes(safetensors({"a": (2, 2)}, fill=bytes([number])))
    (folder / "history.json").write_text("[]")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def anything(_: Checkpoint) -> bool:
    return True


@pytest.fixture
def three(place: Place, tmp_path: Path) -> list[dict[str, bytes]]:
    """Write three checkpoints; the first is gone by then."""
    writer = area(place)
    writer.restore(tmp_path / "work", anything)
    written = []
    for number in (1, 2, 3):
        folder = state(tmp_path / "work", number)
        writer.write(folder, CONDITIONS, MACHINE)
        written.append(content(folder))
    return written


def test_without_a_checkpoint_the_folder_is_made_empty(place: Place, tmp_path: Path) -> None:
    left = state(tmp_path / "work", 9)
    assert area(place).restore(left, anything) is None
    assert content(left) == {}


def test_another_process_gets_the_newest_checkpoint(
    place: Place, tmp_path: Path, three: list[dict[str, bytes]]
) -> None:
    found = area(place).restore(tmp_path / "other", anything)
    assert found is not None
    assert (found.sequence, found.conditions, found.machine) == (2, CONDITIONS, MACHINE)
    assert content(tmp_path / "other") == three[2]


def test_two_are_kept_and_nothing_else(place: Place, three: list[dict[str, bytes]]) -> None:
    keys = set(area(place)._objects.sizes())
    assert {key for key in keys if key.endswith(".json")} == {"00000001.json", "00000002.json"}
    assert len(keys) == 2 + len({data for files in three[1:] for data in files.values()})


def test_the_same_files_are_stored_once(place: Place, tmp_path: Path, three: list[dict[str, bytes]]) -> None:
    before = place.objects.sizes()
    second = area(place)
    second.restore(tmp_path / "other", anything)
    second.write(tmp_path / "other", CONDITIONS, MACHINE)
    assert place.objects.sizes() == before


def test_nothing_written_is_nothing_stored(place: Place, tmp_path: Path) -> None:
    writer = area(place)
    writer.restore(tmp_path / "work", anything)
    writer.write(tmp_path / "work", CONDITIONS, MACHINE)
    assert place.objects.sizes() == {}


def newest(place: Place) -> Checkpoint:
    return Checkpoint.model_validate_json(place.objects.read(f"{ROOT}/00000002.json", 10**6))


def weights(place: Place) -> str:
    return f"{ROOT}/{blob_key(newest(place).files['tuning/state.safetensors'].digest)}"


def with_field(place: Place, **changed: object) -> None:
    place.put(f"{ROOT}/00000002.json", json.dumps({**newest(place).to_json(), **changed}).encode())


@pytest.mark.parametrize(
    "damage",
    {
        "file gone": lambda place: place.remove(weights(place)),
        "file torn": lambda place: place.put(weights(place), b"x"),
        "file with other bytes": lambda place: place.put(weights(place), safetensors({"a": (2, 2)}, fill=b"\7")),
        "record torn": lambda place: place.put(f"{ROOT}/00000002.json", b'{"contractVersion": 1, '),
        "record empty": lambda place: place.put(f"{ROOT}/00000002.json", b""),
        "record of another version": lambda place: with_field(place, contractVersion=2),
        "record of another request": lambda place: with_field(place, requestDigest=D2),
        "record of another step": lambda place: with_field(place, step="refine"),
        "record with a path": lambda place: with_field(place, files={"../../x.json": {"size": 2, "digest": D2}}),
        "record with a pickle": lambda place: with_field(place, files={"state.pt": {"size": 2, "digest": D2}}),
    }.values(),
)
def test_what_is_not_whole_is_passed_over(
    place: Place, tmp_path: Path, three: list[dict[str, bytes]], damage: Callable[[Place], None]
) -> None:
    damage(place)
    reader = area(place)
    found = reader.restore(tmp_path / "other", anything)
    assert found is not None
    assert found.sequence == 1
    assert content(tmp_path / "other") == three[1]
    reader.write(state(tmp_path / "other", 4), CONDITIONS, MACHINE)
    again = area(place).restore(tmp_path / "third", anything)
    assert again is not None
    assert again.sequence == 3


@pytest.mark.parametrize("data", [b"x", safetensors({"a": (2, 2)}, fill=b"\7")], ids=["torn", "other bytes"])
def test_a_damaged_file_is_stored_anew_when_the_run_makes_it_again(
    place: Place, tmp_path: Path, three: list[dict[str, bytes]], data: bytes
) -> None:
    place.put(weights(place), data)
    writer = area(place)
    writer.restore(tmp_path / "other", anything)

    writer.write(state(tmp_path / "other", 3), CONDITIONS, MACHINE)

    found = area(place).restore(tmp_path / "third", anything)
    assert found is not None
    assert found.sequence == 3
    assert content(tmp_path / "third") == three[2]


def test_a_file_of_a_forbidden_form_is_passed_over(place: Place, tmp_path: Path) -> None:
    writer = area(place)
    writer.restore(tmp_path / "work", anything)
    (tmp_path / "work" / "state.json").write_bytes(b"\x80\x05 a pickle")
    writer.write(tmp_path / "work", CONDITIONS, MACHINE)
    assert area(place).restore(tmp_path / "other", anything) is None
    assert content(tmp_path / "other") == {}


def test_what_does_not_fit_is_passed_over(place: Place, tmp_path: Path, three: list[dict[str, bytes]]) -> None:
    found = area(place).restore(tmp_path / "other", lambda checkpoint: checkpoint.sequence < 2)
    assert found is not None
    assert content(tmp_path / "other") == three[1]
    assert area(place).restore(tmp_path / "other", lambda _: False) is None
    assert content(tmp_path / "other") == {}


def test_removal_takes_the_steps_own_and_leaves_the_rest(
    place: Place, tmp_path: Path, three: list[dict[str, bytes]]
) -> None:
    publish_folder(place.store, write_adapter(tmp_path / "adapter"), kind="Adapter", provenance=provenance())
    for other in (area(place, request=D3), area(place, step="refine")):
        other.restore(tmp_path / "work", anything)
        other.write(state(tmp_path / "work", 1), CONDITIONS, MACHINE)
    before = place.objects.sizes()
    area(place).remove()
    left = place.objects.sizes()
    assert left == {key: size for key, size in before.items() if not key.startswith(f"{ROOT}/")}
    assert len(left) == 3 + 2 * 3


def test_a_pod_that_is_cut_off_and_its_successor_do_not_stop_each_other(place: Place, tmp_path: Path) -> None:
    writers = [area(place), area(place)]
    for writer in writers:
        writer.restore(tmp_path / "work", anything)
    for number in range(6):
        writers[number % 2].write(state(tmp_path / "work", number), CONDITIONS, MACHINE)
        found = area(place).restore(tmp_path / "other", anything)
        assert found is not None
        assert found.sequence == number
        assert content(tmp_path / "other") == content(tmp_path / "work")


class Failing:
    """A store of which one call fails."""

    def __init__(self, inner: Objects, call: str, error: StoreError) -> None:
        self._inner = inner
        self._call = call
        self._error = error

    def __getattr__(self, name: str) -> object:
        if name == self._call:
            raise self._error
        return getattr(self._inner, name)


class FailingPlace(Filesystems):
    def __init__(self, place: Place, call: str, error: StoreError) -> None:
        super().__init__(environ={})
        self._place = place
        self._failure = (call, error)

    def open(self, uri: str) -> Objects:
        return Failing(self._place.filesystems.open(uri), *self._failure)  # type: ignore[return-value] # it forwards


@pytest.mark.parametrize("call", ["create", "create_from_file"])
def test_a_store_that_fails_leaves_the_checkpoint_before(local_place: Place, tmp_path: Path, call: str) -> None:
    writer = area(local_place)
    writer.restore(tmp_path / "work", anything)
    writer.write(state(tmp_path / "work", 1), CONDITIONS, MACHINE)
    before = content(tmp_path / "work")
    failing = FailingPlace(local_place, call, TemporaryError("the network is gone"))
    broken = CheckpointArea(failing, local_place.uri, D1, "recover")
    broken.restore(tmp_path / "work", anything)
    with pytest.raises(TemporaryError):
        broken.write(state(tmp_path / "work", 2), CONDITIONS, MACHINE)
    area(local_place).restore(tmp_path / "other", anything)
    assert content(tmp_path / "other") == before


@pytest.mark.parametrize("call", ["sizes", "read", "stream"])
def test_a_store_that_does_not_answer_is_not_one_without_checkpoints(
    local_place: Place, tmp_path: Path, call: str
) -> None:
    writer = area(local_place)
    writer.restore(tmp_path / "work", anything)
    writer.write(state(tmp_path / "work", 1), CONDITIONS, MACHINE)
    failing = FailingPlace(local_place, call, TemporaryError("the network is gone"))
    with pytest.raises(TemporaryError):
        CheckpointArea(failing, local_place.uri, D1, "recover").restore(tmp_path / "other", anything)


def test_a_writer_without_the_right_to_remove_still_writes(local_place: Place, tmp_path: Path) -> None:
    failing = FailingPlace(local_place, "remove", DeniedError("the store refuses the credentials"))
    writer = CheckpointArea(failing, local_place.uri, D1, "recover")
    writer.restore(tmp_path / "work", anything)
    for number in (1, 2, 3):
        writer.write(state(tmp_path / "work", number), CONDITIONS, MACHINE)
    writer.remove()
    found = area(local_place).restore(tmp_path / "other", anything)
    assert found is not None
    assert found.sequence == 2


def test_a_removed_object_is_gone_and_may_be_gone_already(place: Place) -> None:
    place.objects.create("a/b", b"1")
    place.objects.create("a/c", b"2")
    for _ in range(2):
        place.objects.remove("a/b")
        assert place.objects.sizes() == {"a/c": 1}

"""A corpus of hostile folders, refused at publication and at every fetch."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import FileEntry, folder_digest
from relora_store.errors import IntegrityError
from relora_store.fetching import fetch_artifact
from relora_store.localfiles import file_digest
from relora_store.manifests import publish_folder
from relora_store.names import Content
from samples.artifacts import adapter_config, framed, provenance, safetensors, write_adapter
from samples.places import Place


def write(name: str, data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return change


def link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "pickle by name": write("adapter_model.bin", pickle.dumps({})),
    "pickle by content": write("vocab.json", pickle.dumps({}, protocol=4)),
    "pickle of protocol 2": write("vocab.txt", pickle.dumps({}, protocol=2)),
    "torch archive": write("notes.txt", b"PK\x03\x04rest"),
    "gzip": write("notes.md", b"\x1f\x8b\x08rest"),
    "code": write("modeling.py", b"print()"),
    "code in a subfolder": write("a/b/modeling.py", b"print()"),
    "configuration with code": write("config.json", b'{"auto_map": {"AutoModel": "x--y.Z"}}'),
    "tokenizer with code": write("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": ["x.Y", null]}}'),
    "configuration that is a list": write("adapter_config.json", b"[]"),
    "configuration that is broken": write("adapter_config.json", b"{"),
    "configuration nested without end": write("adapter_config.json", b"[" * 100_000),
    "truncated weights": write("adapter_model.safetensors", safetensors({"a": (4, 4)})[:-1]),
    "pickle named safetensors": write("adapter_model.safetensors", pickle.dumps({"a": 1})),
    "header over an adapter's limit": write(
        "adapter_model.safetensors", framed(b'{"__metadata__": {"a": "' + b"x" * 1024 * 1024 + b'"}}')
    ),
    "hidden file": write(".env", b"x"),
    "hidden folder": write(".cache/huggingface/x.json", b"{}"),
    "no parquet": write("x.parquet", b"PK\x03\x04"),
    "space in a name": write("my file.json", b"{}"),
    "link to a file": link("secret.json", "/etc/hostname"),
    "link to a folder": link("folder", "/etc"),
    "link to nothing": link("nothing.json", "nowhere"),
    "link to itself": link("loop.json", "loop.json"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_folder_is_not_published(local_place: Place, tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = write_adapter(tmp_path / "adapter")
    change(folder)
    with pytest.raises(IntegrityError):
        publish_folder(local_place.store, folder, kind="Adapter", provenance=provenance())
    assert local_place.objects.sizes() == {}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_folder_is_not_fetched(local_place: Place, tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = write_adapter(Path(local_place.uri.removeprefix("file://"), "adapter"))
    change(folder)
    ref = ArtifactRef(uri=f"{local_place.uri}/adapter", digest=_digest_as_if_good(folder))
    with pytest.raises(IntegrityError):
        fetch_artifact(local_place.filesystems, ref, tmp_path / "here", Content.ADAPTER)
    here = tmp_path / "here"
    assert not here.exists() or list(here.iterdir()) == []


def test_an_ordinary_folder_passes(local_place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "adapter_config.json").write_bytes(adapter_config(auto_mapping=None, auto_map=None))
    (folder / "README.md").write_text("# Adapter\n")
    (folder / "tokenizer_config.json").write_text("{}")
    publish_folder(local_place.store, folder, kind="Adapter", provenance=provenance())


def test_a_base_may_have_a_longer_header_than_an_adapter(local_place: Place, tmp_path: Path) -> None:
    shapes = dict.fromkeys((f"model.layers.{number}.self_attn.q_proj.weight" for number in range(12_000)), (1,))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(safetensors(shapes))
    publish_folder(local_place.store, folder, kind="Delta", provenance=provenance())
    with pytest.raises(IntegrityError, match="at most 1048576"):
        publish_folder(local_place.store, folder, kind="Adapter", provenance=provenance())


def _digest_as_if_good(folder: Path) -> str:
    """Return the digest that an attacker would pin: of all files, links followed where they lead to one."""
    files = {
        path.relative_to(folder).as_posix(): FileEntry(size=path.stat().st_size, digest=file_digest(path))
        for path in folder.rglob("*")
        if not (path.is_symlink() and not path.exists()) and path.is_file()
    }
    return folder_digest(files)

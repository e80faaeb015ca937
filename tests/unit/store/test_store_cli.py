"""The `relora` command: what it prints and how it ends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relora_contract.digests import FileEntry, folder_digest, hex_part, sha256_digest
from relora_store import cli
from relora_store.digest import digest_of_uri
from relora_store.localfiles import file_digest
from relora_store.manifests import publish_folder
from samples.artifacts import D2, provenance, write_adapter, write_base
from samples.places import Gateway, Place

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["relora", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


def expected(folder: Path) -> str:
    files = {
        path.relative_to(folder).as_posix(): FileEntry(size=path.stat().st_size, digest=file_digest(path))
        for path in folder.rglob("*")
        if path.is_file()
    }
    return folder_digest(files)


def test_the_digest_of_a_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", nested=True)
    code, out, err = run("digest", str(folder))
    assert (code, out) == (0, expected(folder) + "\n")
    assert "folder of 3 files" in err


def test_a_digest_as_json(run: Run, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    code, out, _ = run("digest", folder.as_uri(), "-o", "json")
    result = json.loads(out)
    assert code == 0
    assert (result["form"], result["digest"]) == ("folder", expected(folder))
    assert set(result["files"]) == {"config.json", "model.safetensors"}
    assert result["size"] == sum(entry["size"] for entry in result["files"].values())


def test_a_digest_is_the_same_wherever_the_folder_lies(place: Place, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", nested=True)
    for path in folder.rglob("*"):
        if path.is_file():
            place.put(f"r1/{path.relative_to(folder).as_posix()}", path.read_bytes())
    assert digest_of_uri(place.filesystems, f"{place.uri}/r1").digest == expected(folder)
    assert digest_of_uri(place.filesystems, f"{place.uri}/r1/").digest == expected(folder)


def test_the_digest_of_a_data_file(place: Place) -> None:
    place.put("train.jsonl", b"{}\n")
    found = digest_of_uri(place.filesystems, f"{place.uri}/train.jsonl")
    assert (found.form, found.digest, found.size) == ("file", sha256_digest(b"{}\n"), 3)


@pytest.mark.integration
def test_the_environment_names_the_store(run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = gateway.filesystems.open("s3://relora-tests/cli")
    objects.create("train.jsonl", b"{}\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests-secret")
    assert run("digest", "s3://relora-tests/cli/train.jsonl")[:2] == (0, sha256_digest(b"{}\n") + "\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    code, out, err = run("digest", "s3://relora-tests/cli/train.jsonl")
    assert (code, out) == (42, "")
    assert "refuses the credentials" in err
    assert "wrong-secret" not in err


def test_a_folder_that_could_not_be_served_has_no_digest(run: Run, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    code, out, err = run("digest", str(folder))
    assert (code, out) == (45, "")
    assert err.splitlines()[-1] == (
        "relora: 'pytorch_model.bin' may hold pickled code; only safetensors weights are read"
    )


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere", "neither a file nor a folder"),
        ("http://example.org/x", "only s3:// and file://"),
    ],
)
def test_bad_uris_end_with_42(run: Run, uri: str, message: str) -> None:
    code, out, err = run("digest", uri)
    assert (code, out) == (42, "")
    assert message in err


def test_a_manifest_is_shown(run: Run, local_place: Place, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    ref = publish_folder(local_place.store, folder, kind="Adapter", provenance=provenance())
    code, out, _ = run("manifest", "show", ref.uri)
    assert code == 0
    assert f"target base  {D2}" in out
    assert file_digest(folder / "adapter_config.json") in out
    code, out, _ = run("manifest", "show", ref.uri, "-o", "json")
    assert json.loads(out)["kind"] == "Adapter"
    assert digest_of_uri(local_place.filesystems, ref.uri).form == "manifest"


def test_a_damaged_manifest_is_not_shown(run: Run, local_place: Place, tmp_path: Path) -> None:
    ref = publish_folder(
        local_place.store, write_adapter(tmp_path / "adapter"), kind="Adapter", provenance=provenance()
    )
    local_place.put(f"manifests/sha256/{hex_part(ref.digest)}.json", b"{}")
    code, out, err = run("manifest", "show", ref.uri)
    assert (code, out) == (45, "")
    assert "expected is" in err


def test_what_is_no_manifest_is_told(run: Run) -> None:
    code, _, err = run("manifest", "show", "file:///x/manifests/sha256/1.json")
    assert code == 42
    assert "is no manifest" in err


def test_without_the_client_of_s3_the_remedy_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules, "relora_store.s3_connection", raising=False)
    code, _, err = run("digest", "s3://models/tiny-r1")
    assert code == 42
    assert "s3:// needs the package s3fs: install relora[store]" in err


def test_wrong_usage_ends_with_2(run: Run) -> None:
    assert run("digest")[0] == 2
    assert run("digest", "x", "-o", "yaml")[0] == 2


def test_help_teaches(run: Run) -> None:
    code, out, _ = run("digest", "--help")
    assert code == 0
    for word in ("spec.weights.digest", "Example:", "AWS_ENDPOINT_URL", "Exit codes"):
        assert word in out


def test_help_and_local_folders_wait_for_no_client(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    script = (
        "import sys; from relora_store.digest import digest_of_uri; from relora_store.filesystems import Filesystems;"
        f"import relora_store.cli; digest_of_uri(Filesystems(), {folder.as_uri()!r});"
        "sys.exit(any(name in sys.modules for name in ('s3fs', 'botocore', 'aiohttp', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

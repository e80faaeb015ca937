import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from devcluster.baseimages import locked_versions, overrides
from devcluster.cudastubs import parse_symbols, stub_symbols, version_script
from devcluster.ociarchive import write_program_image

_LOCK = """\
numpy==2.4.6 \\
    --hash=sha256:aa
torch==2.13.0 ; sys_platform == 'linux' \\
    --hash=sha256:bb
"""


def test_a_program_image_is_whole(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"a static program")
    write_program_image(program, "localhost/relora-pause:1", tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        files: dict[str, bytes] = {}
        for member in archive.getmembers():
            opened = archive.extractfile(member)
            assert opened is not None
            files[member.name] = opened.read()
    for name, content in files.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == name.removeprefix("blobs/sha256/")

    def blob(digest: str) -> bytes:
        return files[f"blobs/sha256/{digest.removeprefix('sha256:')}"]

    described = json.loads(files["index.json"])["manifests"][0]
    assert described["annotations"]["io.containerd.image.name"] == "localhost/relora-pause:1"
    manifest = json.loads(blob(described["digest"]))
    config = json.loads(blob(manifest["config"]["digest"]))
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]


def test_versions_are_those_of_the_lock_file() -> None:
    assert locked_versions(_LOCK, ["torch", "numpy"]) == {"torch": "2.13.0", "numpy": "2.4.6"}
    with pytest.raises(KeyError, match="absent"):
        locked_versions(_LOCK, ["absent"])


def test_overrides_keep_torch_and_leave_cuda_out() -> None:
    lines = overrides(["numpy==2.4.6", "torch==2.13.0"]).splitlines()
    assert lines[0] == "torch==2.13.0"
    assert 'nvidia-cudnn-cu13; sys_platform == "never"' in lines
    assert not [line for line in lines if line.startswith("numpy")]


def test_stubs_have_the_symbols_that_are_wanted_and_no_others() -> None:
    wanted = parse_symbols(
        "         U cublasCreate_v2@libcublas.so.13\n U ncclSend\n U _ZSt4cout\n U table\n U elsewhere"
    )
    defined = parse_symbols(
        "0001 T cublasCreate_v2@@libcublas.so.13\n0002 T ncclSend\n0003 T unwanted\n0004 T _ZSt4cout\n0005 D table"
    )
    declarations = stub_symbols(wanted, defined)
    assert set(declarations) == {"cublasCreate_v2", "ncclSend", "table"}
    assert declarations["ncclSend"] == "int ncclSend(void) { return 1; }"
    assert declarations["table"] == "char table[64];"
    assert version_script(wanted, declarations) == "libcublas.so.13 { global: cublasCreate_v2; };"

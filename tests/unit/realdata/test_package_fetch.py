import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from realdata.cache import Build
from realdata.packages import FetchError, Wheel
from realdata.progress import Stage

WHEEL = Wheel("some-package", "1.0", "0" * 64)


def build(folder: Path) -> Build:
    return Build(folder, {}, Stage("some-package", io.StringIO(), interval_seconds=60.0, started=0.0, last_said=0.0))


def test_the_installer_is_found_on_a_machine_that_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[Sequence[str]] = []

    def record(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(subprocess, "run", record)
    WHEEL.product().build(build(tmp_path))
    [command] = commands
    assert Path(command[0]).is_file()
    assert "--require-hashes" in command


def test_what_the_installer_says_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 2, "", "hash mismatch\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(FetchError, match=r"some-package==1\.0 could not be fetched: hash mismatch"):
        WHEEL.product().build(build(tmp_path))

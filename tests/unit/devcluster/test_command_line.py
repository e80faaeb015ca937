from pathlib import Path

import pytest

from devcluster.cli import main


def test_help_teaches_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert all(f"devcluster {command}" in printed for command in ("check --node", "up --node", "exec", "down --node"))


def test_status_of_a_cluster_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state", str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().out == "down\n"


def test_down_of_a_cluster_that_is_down_is_no_error(tmp_path: Path) -> None:
    assert main(["down", "--state", str(tmp_path / "absent")]) == 0


@pytest.mark.parametrize(("command", "reason"), [([], "give the command"), (["--", "true"], "no node runs in")])
def test_exec_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], reason: str
) -> None:
    assert main(["exec", "--state", str(tmp_path), *command]) == 1
    assert reason in capsys.readouterr().err

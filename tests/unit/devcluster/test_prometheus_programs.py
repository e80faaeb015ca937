from pathlib import Path

import pytest

from devcluster.errors import DevclusterError
from devcluster.prometheus import find_prometheus

# Stands for apt-get and dpkg-deb: what it "downloads" is empty, what it "unpacks" has the two programs.
_DEBIAN = """#!/bin/sh
case "$0 $*" in
    *update) ;;
    *download*) touch prometheus_1_amd64.deb ;;
    *--extract*) mkdir -p root/usr/bin && touch root/usr/bin/prometheus root/usr/bin/promtool ;;
esac
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH that could hold the programs; the cache is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("RELORA_CACHE", str(tmp_path / "cache"))
    return folder


def program(path: Path, text: str = "#!/bin/sh\n") -> None:
    path.write_text(text.replace("mkdir", "/bin/mkdir").replace("touch", "/bin/touch"))
    path.chmod(0o755)


def test_programs_on_the_path_are_taken(path: Path) -> None:
    program(path / "prometheus")
    program(path / "promtool")
    assert find_prometheus(print) == path


def test_debians_package_is_unpacked_once(path: Path, tmp_path: Path) -> None:
    said: list[str] = []
    program(path / "apt-get", _DEBIAN)
    program(path / "dpkg-deb", _DEBIAN)

    found = find_prometheus(said.append)
    assert found == find_prometheus(said.append)

    assert found.is_relative_to(tmp_path / "cache")
    assert {file.name for file in found.iterdir()} == {"prometheus", "promtool"}
    assert said == ["fetching Debian's package of Prometheus"]
    assert list(found.parent.iterdir()) == [found]


def test_another_system_is_told_what_to_do(path: Path) -> None:
    with pytest.raises(DevclusterError, match="no Debian, so put prometheus and promtool into one folder"):
        find_prometheus(print)


@pytest.mark.parametrize(
    ("script", "message"),
    [("#!/bin/sh\necho no network >&2\nexit 100\n", "no network"), ("#!/bin/sh\n", "downloaded nothing")],
)
def test_an_archive_that_gives_nothing_leaves_nothing(path: Path, script: str, message: str, tmp_path: Path) -> None:
    program(path / "apt-get", script)
    program(path / "dpkg-deb")
    with pytest.raises(DevclusterError, match=message):
        find_prometheus(print)
    assert list((tmp_path / "cache/devcluster").iterdir()) == []

from pathlib import Path

import pytest

from devcluster import cgroups, check
from devcluster.check import check_control_plane, check_node, probe_steps
from devcluster.debian import NODE_PACKAGES, install_command, missing_packages
from devcluster.errors import DevclusterError


def test_packages_are_missing_when_their_program_or_file_is(tmp_path: Path) -> None:
    assert missing_packages({"there": str(tmp_path), "absent": str(tmp_path / "absent"), "shell": "sh"}) == ["absent"]


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "missing_packages", lambda _: ["containerd", "nftables"])
    command = "apt-get install --yes --no-install-recommends containerd nftables"
    with pytest.raises(DevclusterError, match=f"missing containerd, nftables.*{command}"):
        check_node()
    with pytest.raises(DevclusterError, match="no control plane here"):
        check_control_plane()


def test_a_node_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "missing_packages", lambda _: [])
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    with pytest.raises(DevclusterError, match="not root"):
        check_node()


def test_a_step_that_the_kernel_refuses_is_named_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "missing_packages", lambda _: [])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(check, "probe_steps", lambda *_: {"making a folder": ["mkdir", "/absent/folder"]})
    with pytest.raises(DevclusterError, match=r"no node here: (making a folder: mkdir: cannot create|unshare)"):
        check_node()


def test_the_probe_tries_every_hierarchy_of_control_groups_and_removes_what_it_made() -> None:
    steps = probe_steps(Path("/scratch"), [Path("/cgroup/memory"), Path("/cgroup/pids")])
    made, removed = steps["making a control group"], steps["removing a control group"]
    assert made[0] == "mkdir"
    assert removed[0] == "rmdir"
    assert made[1:] == removed[1:]
    assert [Path(path).parent.name for path in made[1:]] == ["memory", "pids"]


def test_packages_are_installed_without_questions() -> None:
    assert install_command(["nftables"]) == ["apt-get", "install", "--yes", "--no-install-recommends", "nftables"]
    assert "containerd" in NODE_PACKAGES


def _hierarchy(path: Path) -> Path:
    path.mkdir()
    (path / "cgroup.procs").touch()
    return path


def test_version_1_has_a_hierarchy_per_controller_and_links_are_no_second_one(tmp_path: Path) -> None:
    both, memory = _hierarchy(tmp_path / "cpu,cpuacct"), _hierarchy(tmp_path / "memory")
    (tmp_path / "cpu").symlink_to(both)
    (tmp_path / "unified").mkdir()
    assert cgroups.version(tmp_path) == 1
    assert cgroups.hierarchies(tmp_path) == [both, memory]


def test_version_2_has_one_hierarchy_whose_controllers_are_handed_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids rdma")
    group = tmp_path / "node"
    group.mkdir()
    (group / "cgroup.controllers").write_text("cpu memory pids")
    assert cgroups.hierarchies(tmp_path) == [tmp_path]
    cgroups.create("node", tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (group / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (group / "daemons" / "cgroup.procs").read_text() == "0"


def test_groups_are_removed_from_the_innermost_out(tmp_path: Path) -> None:
    _hierarchy(tmp_path / "memory")
    (tmp_path / "memory" / "node" / "kubepods" / "pod").mkdir(parents=True)
    cgroups.remove("node", tmp_path)
    assert not (tmp_path / "memory" / "node").exists()
    cgroups.remove("node", tmp_path)

import stat
from pathlib import Path

import pytest

from devcluster.binaries import given_program
from devcluster.errors import DevclusterError
from devcluster.gobuild import build_key, built_programs, link_flags, module_version
from devcluster.gotoolchain import go_version, minimum_go
from devcluster.paths import GO_MODULE, KWOK_MODULE, cache_root
from devcluster.programs import CLUSTER_TARGETS, PROGRAMS, Program, Target, programs_of, version_fits

_BY_NAME = {program.name: program for program in PROGRAMS}


@pytest.mark.parametrize(
    ("name", "printed", "fits"),
    [
        ("kube-apiserver", "Kubernetes v1.36.3", True),
        ("kube-apiserver", "Kubernetes v1.35.9", False),
        ("kubectl", "Client Version: v1.36.0\nKustomize Version: v5.8.1", True),
        ("kubectl", "Client Version: v1.33.2", False),
        ("etcd", "etcd Version: 3.6.13\nGit SHA: x", True),
        ("etcd", "etcd Version: 3.4.30", False),
        ("helm", "v4.2.4+gabc", True),
        ("helm", "v3.18.0+gabc", False),
        ("kwok", "kwok version v0.8.0 go1.26.8 (linux/amd64)", True),
        ("kwok", "kwok version v0.7.0 go1.25.1 (linux/amd64)", False),
        ("s3gateway", "v1.8.0", False),  # only our own build has its command line
    ],
)
def test_a_programs_version_decides_whether_it_is_taken(name: str, printed: str, *, fits: bool) -> None:
    assert version_fits(_BY_NAME[name], printed) is fits


def _put(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_kubebuilder_assets_come_before_the_path_and_a_version_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    assets, path = _put(tmp_path / "assets", "etcd"), _put(tmp_path / "path", "etcd")
    environ = {"KUBEBUILDER_ASSETS": str(assets.parent), "PATH": str(path.parent)}
    versions = {assets: "etcd Version: 3.6.0", path: "etcd Version: 3.6.1"}

    def printed(found: Path, _: Program) -> str:
        return versions[found]

    assert given_program(_BY_NAME["etcd"], environ, printed) == assets
    versions[assets] = "etcd Version: 3.2.0"
    assert given_program(_BY_NAME["etcd"], environ, printed) == path
    versions[path] = "no version"
    assert given_program(_BY_NAME["etcd"], environ, printed) is None
    assert given_program(_BY_NAME["etcd"], {}, printed) is None


def test_a_control_plane_needs_none_of_the_nodes_programs() -> None:
    names = {program.name for program in programs_of(Target.CONTROL_PLANE)}
    assert names == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
    files = {target: {program.file for program in programs_of(target)} for target in CLUSTER_TARGETS}
    assert not files[Target.CONTROL_PLANE] & files[Target.NODE]


def test_the_go_module_builds_what_the_programs_say() -> None:
    go_mod = (GO_MODULE / "go.mod").read_text()
    assert module_version(go_mod, "k8s.io/kubernetes").startswith("v1.36.")
    assert f"gitVersion={module_version(go_mod, 'k8s.io/kubernetes')}" in link_flags(go_mod)
    own = {program.package for program in PROGRAMS if program.package.startswith("./")}
    assert own == {f"./{path.parent.relative_to(GO_MODULE)}" for path in GO_MODULE.glob("cmd/*/main.go")}


def test_the_benches_kubelet_has_a_module_of_its_own_and_is_built_on_the_clusters_libraries() -> None:
    go_mod = (KWOK_MODULE / "go.mod").read_text()
    assert build_key(KWOK_MODULE).startswith(f"{module_version(go_mod, 'sigs.k8s.io/kwok')}-")
    assert built_programs(KWOK_MODULE) != built_programs()
    libraries = module_version((GO_MODULE / "go.mod").read_text(), "k8s.io/component-base")
    assert module_version(go_mod, "k8s.io/component-base") == libraries


def test_an_unknown_module_has_no_version() -> None:
    with pytest.raises(DevclusterError, match=r"does not require example\.test/none"):
        module_version("require k8s.io/kubernetes v1.36.3", "example.test/none")


def test_go_versions_compare_as_numbers() -> None:
    assert minimum_go("module x\n\ngo 1.26.0\n") == (1, 26, 0)
    assert go_version("go version go1.26.8 linux/amd64") >= (1, 26, 0)
    assert go_version("go version go1.9 linux/amd64") < (1, 26, 0)
    assert go_version("command not found") == ()


def test_the_cache_is_keyed_by_all_that_is_built(tmp_path: Path) -> None:
    (tmp_path / "cmd" / "one").mkdir(parents=True)
    modules = ("k8s.io/kubernetes v1.36.3", "github.com/distribution/distribution/v3 v3.1.2", "helm.sh/helm/v4 v4.2.4")
    (tmp_path / "go.mod").write_text("go 1.26.0\n" + "\n".join(f"require {module}" for module in modules))
    (tmp_path / "go.sum").write_text("")
    source = tmp_path / "cmd" / "one" / "main.go"
    source.write_text("package main")
    before = build_key(tmp_path)
    assert before.startswith("v1.36.3-")
    assert build_key(tmp_path) == before
    source.write_text("package main // changed")
    assert build_key(tmp_path) != before


def test_the_cache_lies_where_the_environment_says(tmp_path: Path) -> None:
    assert cache_root({"RELORA_CACHE": str(tmp_path)}) == tmp_path / "devcluster"
    assert cache_root({}) == Path.home() / ".cache" / "relora" / "devcluster"

"""The examples for Flux and Argo CD refer to what is there, in an order in which it can come up."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gitops.argocd import Health, health
from relora_contract.wellknown import ANNOTATION_SERVING_SET, ANNOTATION_SERVING_SET_DIGEST
from relora_operator.kube.resources import BINDINGS, RELEASES, SERVERS

ROOT = Path(__file__).parents[3]
EXAMPLES, CHART = ROOT / "examples", ROOT / "charts/relora-operator"
FLUX, ARGOCD = EXAMPLES / "gitops/flux", EXAMPLES / "gitops/argocd"
MANIFESTS = sorted(EXAMPLES.glob("*.yaml"))

Document = dict[str, Any]


def documents(*paths: Path) -> list[Document]:
    return [document for path in paths for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def identity(document: Document) -> tuple[str, str, str, str]:
    metadata = document.get("metadata", document)
    return document["apiVersion"], document["kind"], metadata.get("namespace", ""), metadata["name"]


def copied(path: str) -> Path:
    """Return the place here of a path in the repository that the README describes."""
    found = EXAMPLES / Path(path).relative_to("relora")
    assert found.is_dir()
    return found


KUSTOMIZATIONS = {document["metadata"]["name"]: document["spec"] for document in documents(FLUX / "sync.yaml")}
APPLICATIONS = {one["metadata"]["name"]: one for one in documents(*sorted(ARGOCD.glob("applications/*.yaml")))}


def built_by_flux(name: str) -> list[Path]:
    (listed,) = documents(copied(KUSTOMIZATIONS[name]["path"]) / "kustomization.yaml")
    folder = copied(KUSTOMIZATIONS[name]["path"])
    return [(folder / resource).resolve() for resource in listed["resources"]]


def included_by_argocd(name: str) -> list[Path]:
    source = APPLICATIONS[name]["spec"]["source"]
    names = re.fullmatch(r"\{([\w,-]+)\}\.yaml", source["directory"]["include"])
    assert names is not None
    return [copied(source["path"]) / f"{stem}.yaml" for stem in names[1].split(",")]


STAGES = ("relora-platform", "relora-releases", "relora-serving", "relora-bindings")
DEPENDENCIES = {
    "relora-operator": None,
    "relora-platform": "relora-operator",
    "relora-releases": "relora-platform",
    "relora-serving": "relora-platform",
    "relora-bindings": "relora-serving",
}


def test_flux_and_argocd_bring_every_manifest_once_and_in_the_same_stages() -> None:
    stages = [built_by_flux(name) for name in STAGES]
    assert stages == [included_by_argocd(name) for name in STAGES]
    assert sorted(path for stage in stages for path in stage) == MANIFESTS


def test_the_stages_of_flux_follow_each_other_and_none_follows_the_releases() -> None:
    assert list(KUSTOMIZATIONS) == list(DEPENDENCIES)
    for name, spec in KUSTOMIZATIONS.items():
        before = DEPENDENCIES[name]
        assert spec.get("dependsOn") == ([{"name": before}] if before else None)
        assert copied(spec["path"]).is_relative_to(FLUX)


def test_a_wave_of_argocd_brings_all_that_may_be_unhealthy_or_waits_for_another() -> None:
    waves = {
        name: int(one["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for name, one in APPLICATIONS.items()
    }
    assert waves == {"relora-operator": 1, "relora-platform": 2} | dict.fromkeys(STAGES[1:], 3)
    (root,) = documents(ARGOCD / "root.yaml")
    assert copied(root["spec"]["source"]["path"]) == ARGOCD / "applications"


def test_nothing_waits_for_a_workload_before_its_bindings_are_there() -> None:
    assert KUSTOMIZATIONS["relora-serving"]["wait"] is False
    assert "healthChecks" not in KUSTOMIZATIONS["relora-serving"]


def test_flux_waits_for_every_server_and_every_binding() -> None:
    checked = {identity(check) for check in KUSTOMIZATIONS["relora-bindings"]["healthChecks"]}
    own = {resource.kind for resource in (SERVERS, BINDINGS)}
    assert checked == {identity(document) for document in documents(*MANIFESTS) if document["kind"] in own}


def test_no_tool_deletes_a_release_that_left_git() -> None:
    releases = [path for path in MANIFESTS if documents(path)[0]["kind"] == RELEASES.kind]
    assert set(releases) == set(built_by_flux("relora-releases"))
    for name in ("relora-platform", "relora-releases"):
        assert KUSTOMIZATIONS[name]["prune"] is False
        assert APPLICATIONS[name]["spec"]["syncPolicy"]["automated"]["prune"] is False


def test_the_chart_is_where_both_tools_look_and_takes_their_values() -> None:
    (release,) = (one for one in documents(FLUX / "operator/operator.yaml") if one["kind"] == "HelmRelease")
    (repository,) = (one for one in documents(FLUX / "operator/operator.yaml") if one["kind"] == "GitRepository")
    source = APPLICATIONS["relora-operator"]["spec"]["source"]
    assert ROOT / release["spec"]["chart"]["spec"]["chart"] == ROOT / source["path"] == CHART
    assert release["spec"]["chart"]["spec"]["sourceRef"]["name"] == repository["metadata"]["name"]
    (chart,) = documents(CHART / "Chart.yaml")
    assert repository["spec"]["ref"]["tag"] == source["targetRevision"] == f"v{chart['version']}"
    (schema,) = documents(CHART / "values.schema.json")
    assert release["spec"]["values"] == source["helm"]["valuesObject"]
    jsonschema.validate(release["spec"]["values"], schema)


def test_the_operators_namespace_comes_with_the_platforms_part_and_with_nothing_else() -> None:
    (release,) = (one for one in documents(FLUX / "operator/operator.yaml") if one["kind"] == "HelmRelease")
    namespace = release["spec"]["targetNamespace"]
    assert release["spec"]["install"]["createNamespace"] is True
    assert namespace == APPLICATIONS["relora-operator"]["spec"]["destination"]["namespace"]
    assert [one for one in documents(FLUX / "operator/operator.yaml") if one["kind"] == "Namespace"] == []
    platform = documents(*built_by_flux("relora-platform"))
    labels = {one["metadata"]["name"]: one["metadata"]["labels"] for one in platform if one["kind"] == "Namespace"}
    assert labels[namespace] == {"pod-security.kubernetes.io/enforce": "restricted"}
    (profile,) = (one for one in platform if one["kind"] == "TrainerProfile")
    secrets = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in platform if one["kind"] == "Secret"}
    assert secrets == {(one, profile["spec"]["store"]["secretName"]) for one in labels}


def test_argocd_compares_all_but_the_two_annotations_and_never_owns_them() -> None:
    spec = APPLICATIONS["relora-serving"]["spec"]
    escaped = [name.replace("/", "~1") for name in (ANNOTATION_SERVING_SET, ANNOTATION_SERVING_SET_DIGEST)]
    pointers = [f"/spec/template/metadata/annotations/{name}" for name in escaped]
    assert spec["ignoreDifferences"] == [{"group": "apps", "kind": "Deployment", "jsonPointers": pointers}]
    for application in APPLICATIONS.values():
        assert "RespectIgnoreDifferences=true" not in application["spec"]["syncPolicy"]["syncOptions"]
        assert application is APPLICATIONS["relora-serving"] or "ignoreDifferences" not in application["spec"]


def test_git_holds_no_serving_set() -> None:
    for deployment in (document for document in documents(*MANIFESTS) if document["kind"] == "Deployment"):
        annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
        assert not {ANNOTATION_SERVING_SET, ANNOTATION_SERVING_SET_DIGEST} & set(annotations)


CONFIGURATION: dict[str, str] = documents(ARGOCD / "argocd-cm.yaml")[0]["data"]


def test_argocd_has_the_health_checks_of_the_chart() -> None:
    script = (CHART / "files/argocd/health.lua").read_text(encoding="utf-8")
    kinds = {f"resource.customizations.health.{one.group}_{one.kind}" for one in (RELEASES, BINDINGS, SERVERS)}
    assert {key: text for key, text in CONFIGURATION.items() if "relora" in key} == dict.fromkeys(kinds, script)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, Health("Progressing", "")),
        ({"status": {"health": {"status": "Healthy"}}}, Health("Healthy", "")),
        ({"status": {"health": {"status": "Degraded", "message": "x"}}}, Health("Degraded", "x")),
    ],
)
def test_a_wave_waits_for_the_health_of_its_applications(status: Document, expected: Health) -> None:
    assert health(CONFIGURATION["resource.customizations.health.argoproj.io_Application"], status) == expected


def test_the_page_names_every_file_that_is_applied() -> None:
    page = (EXAMPLES / "gitops/README.md").read_text(encoding="utf-8")
    files = [path for path in (EXAMPLES / "gitops").rglob("*.yaml") if path.name != "kustomization.yaml"]
    assert [path.name for path in files if path.name not in page] == []

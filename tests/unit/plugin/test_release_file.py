"""What is wrong with the file of a release is said with the field and the remedy, before the cluster is asked."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugin.shelf import Shelf
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.release_file import InvalidReleaseError, read_release
from samples.kinds import release
from unit.plugin.conftest import Run


def problems(tmp_path: Path, document: dict[str, Any]) -> dict[str, str]:
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidReleaseError) as caught:
        read_release(str(path))
    assert str(caught.value).startswith(f"{path} is not valid\n")
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_valid_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(release()))
    assert read_release(str(path)).spec.to_json() == release()["spec"]


def test_metadata_that_a_template_left_empty_is_no_problem(tmp_path: Path) -> None:
    document = release()
    document["metadata"] |= {"creationTimestamp": None, "labels": None, "annotations": None}
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(document))
    assert read_release(str(path)).metadata.name == document["metadata"]["name"]


SPEC = {
    "no digest": (
        {"weights": {"uri": "s3://models/r2", "digest": "sha256:1"}},
        "spec.weights.digest",
        "write sha256: and 64 lower-case hexadecimal digits",
    ),
    "a number": ({"version": 2026.11}, "spec.version", "write letters, digits, '.', '_' and '-', as in 2026.11"),
    "unknown": ({"supersede": "tiny-r1"}, "spec.supersede", "unknown field; supersedes is meant?"),
    "unknown deep": (
        {"allowedNamespaces": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "value": "x"}]}}},
        "spec.allowedNamespaces.selector.matchExpressions[0].value",
        "unknown field; values is meant?",
    ),
    "a number in quotes": ({"rollout": {"maxRunningJobs": "8"}}, "spec.rollout.maxRunningJobs", "a valid integer"),
    "a truth value in quotes": ({"suspend": "false"}, "spec.suspend", "a valid boolean"),
    "out of range": ({"rollout": {"maxRunningJobs": 0}}, "spec.rollout.maxRunningJobs", "greater than or equal to 1"),
    "no name of a bucket": (
        {"weights": {"uri": "https://models/r2", "digest": f"sha256:{'0' * 64}"}},
        "spec.weights.uri",
        "write s3://bucket/key",
    ),
}


@pytest.mark.parametrize(("spec", "field", "told"), SPEC.values(), ids=SPEC)
def test_the_field_and_the_remedy_are_named(tmp_path: Path, spec: dict[str, Any], field: str, told: str) -> None:
    found = problems(tmp_path, release(**spec))
    assert set(found) == {field}
    assert told in found[field]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    document = release("No.Name" * 8, model="")
    del document["spec"]["weights"]
    document["apiVersion"] = "relora.dev/v1"
    found = problems(tmp_path, document)
    assert list(found) == ["apiVersion", "metadata.name", "spec.model", "spec.weights"]
    assert found["apiVersion"] == "write relora.dev/v1alpha1"


def test_an_object_without_its_parts_is_no_release(tmp_path: Path) -> None:
    found = problems(tmp_path, {"apiVersion": "relora.dev/v1alpha1", "kind": "BaseModelRelease", "metadata": {}})
    assert found == {"metadata.name": "Field required", "spec": "Field required"}


def test_an_invalid_release_ends_with_1_before_the_cluster_is_asked(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(release(model="UPPER")))
    shelf = Shelf()
    code, out, err = run(shelf, "plan", "-f", str(path))
    assert (code, out, shelf.lists) == (1, "", 0)
    assert "\n  spec.model: write a DNS label" in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Deployment", "holds 0 objects of kind BaseModelRelease: give one"),
        ("kind: BaseModelRelease\n---\nkind: BaseModelRelease", "holds 2 objects"),
        ("a: [", "cannot read"),
        ("\xff", "holds 0 objects"),
    ],
)
def test_a_file_without_one_release_is_wrong_usage(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "release.yaml"
    path.write_text(text)
    with pytest.raises(PluginError, match=told) as caught:
        read_release(str(path))
    assert caught.value.code is ExitCode.USAGE


def test_an_absent_file_is_named(run: Run, tmp_path: Path) -> None:
    code, _, err = run(Shelf(), "plan", "-f", str(tmp_path / "absent.yaml"))
    assert code == 2
    assert "absent.yaml" in err


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(yaml.safe_dump(release())))
    assert read_release("-").metadata.name == "tiny-r2"

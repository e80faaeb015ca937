"""The files in the tree are those that the models of today give."""

from pathlib import Path

import pytest
import yaml

from relora_contract.crd.__main__ import generated_files, main
from relora_contract.crd.definition import SIZE_LIMIT_BYTES
from relora_operator.core.reasons import REGISTRY
from relora_operator.reasons_page import reasons_page

ROOT = Path(__file__).parents[2]
FILES = generated_files()


@pytest.mark.parametrize("path", sorted(FILES))
def test_generated_file_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path], "run `make generate`"


def test_page_of_reasons_is_up_to_date_and_has_them_all() -> None:
    assert (ROOT / "docs/failure-reasons.md").read_text(encoding="utf-8") == reasons_page(), "run `make generate`"
    assert [reason for reason in REGISTRY if f"| `{reason.value}`" not in reasons_page()] == []


def test_no_definition_of_an_older_name_is_left() -> None:
    folders = (ROOT / "crds", ROOT / "charts/relora-operator/templates/crds")
    present = {str(path.relative_to(ROOT)) for folder in folders for path in folder.iterdir()}
    assert present == {path for path in FILES if path.endswith(".yaml")}


@pytest.mark.parametrize("path", sorted(path for path in FILES if path.startswith("crds/")))
def test_definition_fits_the_annotation_of_client_side_apply(path: str) -> None:
    assert len(FILES[path].encode()) < SIZE_LIMIT_BYTES


def test_definitions_are_plain_yaml_without_anchors() -> None:
    for path, text in FILES.items():
        if path.startswith("crds/"):
            assert "&id" not in text
            assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"


def test_check_names_the_files_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert main(["--write", "--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    stale = tmp_path / "crds/relora.dev_adapterservers.yaml"
    stale.write_text(stale.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "differs: crds/relora.dev_adapterservers.yaml\nrun `make generate`\n"


def test_a_wrong_root_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--write", "--root", str(tmp_path)])
    assert "--root" in capsys.readouterr().err

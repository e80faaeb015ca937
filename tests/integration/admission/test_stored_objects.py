"""What the API server makes of our objects beside checking them."""

import json

import pytest

from admission.api import Admission
from admission.documents import replaced
from devcluster.controlplane import ControlPlane
from samples.kinds import binding, every_kind, release

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("admission")]

SINGULAR = {"BaseModelRelease": "bmr", "AdapterBinding": "adb", "AdapterServer": "ads", "TrainerProfile": "tpr"}


@pytest.mark.parametrize("kind", sorted(SINGULAR))
def test_specs_are_stored_as_they_were_written(control_plane: ControlPlane, kind: str) -> None:
    """Defaults in the schema would rewrite stored objects, and fight with GitOps tools over it."""
    document = every_kind()[kind]
    namespace = document["metadata"].get("namespace", "default")
    stored = json.loads(
        control_plane.kubectl("get", SINGULAR[kind], document["metadata"]["name"], "-n", namespace, "-o", "json")
    )
    assert stored["spec"] == document["spec"]


def test_what_the_operator_has_not_seen_is_older_than_every_generation(control_plane: ControlPlane) -> None:
    text = control_plane.kubectl("get", "bmr", "tiny-r2", "-o", "jsonpath={.status.observedGeneration}")
    assert text == "-1"


def test_a_misspelt_field_is_refused_by_its_name(admission: Admission) -> None:
    document = replaced(binding("tried"), ("spec", "task", "completionFeild"), "label")
    ((_, message),) = admission.create(document)
    assert message.endswith('strict decoding error: unknown field "spec.task.completionFeild"')


def test_one_category_lists_all_kinds(control_plane: ControlPlane) -> None:
    names = control_plane.kubectl("get", "relora", "-A", "-o", "name").split()
    assert {name.partition("/")[0] for name in names} == {
        "basemodelrelease.relora.dev",
        "adapterbinding.relora.dev",
        "adapterserver.relora.dev",
        "trainerprofile.relora.dev",
    }


@pytest.mark.parametrize(
    ("resource", "columns"),
    [
        ("bmr", "NAME MODEL VERSION READY COMPLETE STATUS ELIGIBLE PROMOTED FAILED AGE"),
        ("adb", "NAMESPACE NAME MODEL READY UPTODATE STATUS RELEASE SERVER QUALITY AGE"),
        ("ads", "NAMESPACE NAME MODEL TARGET READY UPTODATE STATUS RELEASE ADAPTERS AGE"),
        ("tpr", "NAME STORE AGE"),
    ],
)
def test_tables_show_what_a_platform_engineer_asks_for(
    control_plane: ControlPlane, resource: str, columns: str
) -> None:
    assert control_plane.kubectl("get", resource, "-A").splitlines()[0].split() == columns.split()


def test_columns_show_the_status(control_plane: ControlPlane, admission: Admission) -> None:
    shown = release("shown")
    condition = {"lastTransitionTime": "2026-11-23T02:07:06Z", "reason": "InProgress"}
    status = {
        "conditions": [
            {"type": "Ready", "status": "True", **condition},
            {"type": "Complete", "status": "False", **condition},
        ],
        "bindings": {"eligible": 5, "promoted": 3, "failed": 1},
    }
    assert admission.create(shown, store=True) == []
    assert admission.update({**shown, "status": status}, subresource="/status", store=True) == []
    row = control_plane.kubectl("get", "bmr", "shown", "--no-headers").split()
    assert row[:-1] == ["shown", "tiny", "2026.11", "True", "False", "InProgress", "5", "3", "1"]

"""The policies of the examples name the operator, its Jobs and what it writes as they are called."""

import re
from pathlib import Path
from typing import Any

import yaml

from relora_contract.wellknown import (
    ANNOTATION_SERVING_SET,
    ANNOTATION_SERVING_SET_DIGEST,
    LABEL_ADAPTER_SERVER,
    LABEL_MANAGED_BY,
    MANAGED_BY,
)

ROOT = Path(__file__).parents[3]
SECURITY = ROOT / "examples/security"
EXPECTED = ROOT / "tests/golden/expected"


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def test_the_network_policy_selects_the_pods_of_every_job() -> None:
    (policy,) = documents(SECURITY / "trainer-network-policy.yaml")
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    manifests = sorted((EXPECTED / "manifests").glob("*.yaml"))
    assert manifests
    for path in manifests:
        job, _ = documents(path)
        assert selected <= job["spec"]["template"]["metadata"]["labels"].items()


def test_the_admission_policy_is_for_the_account_of_the_chart() -> None:
    (account,) = (one["metadata"] for one in documents(EXPECTED / "chart.yaml") if one["kind"] == "ServiceAccount")
    name = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    policies = documents(SECURITY / "admission-policy.yaml")
    conditions = [one["spec"]["matchConditions"] for one in policies if "matchConditions" in one["spec"]]
    assert [[condition["expression"] for condition in found] for found in conditions] == 2 * [
        [f"request.userInfo.username == '{name}'"]
    ]


def test_every_policy_is_bound_and_denies() -> None:
    found = documents(SECURITY / "admission-policy.yaml")
    policies = {one["metadata"]["name"] for one in found if one["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [one["spec"] for one in found if one["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {binding["policyName"] for binding in bindings} == policies
    assert [binding["validationActions"] for binding in bindings] == [["Deny"]] * len(policies)


def test_the_admission_policy_knows_what_the_operator_writes() -> None:
    text = (SECURITY / "admission-policy.yaml").read_text(encoding="utf-8")
    assert f"['{ANNOTATION_SERVING_SET}', '{ANNOTATION_SERVING_SET_DIGEST}']" in text
    assert f"'{LABEL_ADAPTER_SERVER}' in " in text
    assert f"variables.labels['{LABEL_MANAGED_BY}'] == '{MANAGED_BY}'" in text


def test_the_admission_policy_lets_jobs_mount_what_they_do_and_nothing_else() -> None:
    mounted = {
        source
        for path in sorted((EXPECTED / "manifests").glob("*.yaml"))
        for volume in documents(path)[0]["spec"]["template"]["spec"]["volumes"]
        for source in volume.keys() - {"name"}
    }
    text = (SECURITY / "admission-policy.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"has\(volume\.(\w+)\)", text)) == mounted

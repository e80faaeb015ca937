"""The chart renders what it should, and refuses values that it does not know."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from relora_contract.wellknown import GROUP
from relora_operator.kube import resources
from relora_operator.kube.resources import BINDINGS, RELEASES, SERVERS, WATCHED, ResourceType
from relora_operator.settings import parse_arguments

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/relora-operator"
IN_A_POD = {"POD_NAMESPACE": "relora-system", "POD_NAME": "relora-operator-0"}
Documents = list[dict[str, Any]]


def of_kind(documents: Documents, kind: str) -> Documents:
    return [document for document in documents if document["kind"] == kind]


def test_everything_but_the_crds(render: Callable[..., str], expect: Callable[[str, str], None]) -> None:
    expect("chart.yaml", render("crds.enabled=false"))


def test_crds_of_the_chart_are_the_generated_ones(documents: Documents) -> None:
    rendered = {document["metadata"]["name"]: document for document in of_kind(documents, "CustomResourceDefinition")}
    generated = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert len(generated) == 4
    for document in generated:
        document["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    assert rendered == {document["metadata"]["name"]: document for document in generated}


def test_crds_go_with_the_chart_only_when_asked(render: Callable[..., str]) -> None:
    assert "resource-policy" not in render("crds.keep=false")
    assert "CustomResourceDefinition" in render("crds.keep=false")
    assert "CustomResourceDefinition" not in render("crds.enabled=false")


def test_every_value_has_an_effect(render: Callable[..., str]) -> None:
    settings = {
        "image.pullPolicy=Always": "imagePullPolicy: Always",
        "imagePullSecrets[0].name=registry": "- name: registry",
        "replicas=1": "replicas: 1",
        "logLevel=DEBUG": "--log-level=DEBUG",
        "extraArgs[0]=--workers=8": '- "--workers=8"',
        "resources.limits.memory=1Gi": "memory: 1Gi",
        "service.port=9000": "port: 9000",
        "argocd.healthChecks=true": "relora.dev_AdapterBinding: |",
        "networkPolicy.enabled=true": "kind: NetworkPolicy",
        "serviceMonitor.enabled=true": "kind: ServiceMonitor",
        "prometheusRule.enabled=true": "kind: PrometheusRule",
        "grafanaDashboard.enabled=true": 'grafana_dashboard: "1"',
        "podLabels.team=ml": "team: ml",
        "podAnnotations.note=x": "note: x",
        "nodeSelector.pool=system": "pool: system",
        "tolerations[0].key=system": "- key: system",
        "affinity.nodeAffinity.x=y": "nodeAffinity:",
        "priorityClassName=high": "priorityClassName: high",
    }
    default = render("crds.enabled=false")
    for setting, line in settings.items():
        assert line not in default
        assert line in render("crds.enabled=false", setting)
    assert "PodDisruptionBudget" not in render("crds.enabled=false", "podDisruptionBudget.enabled=false")
    assert "aggregate-to" not in render("crds.enabled=false", "rbac.aggregate=false")
    tried = {setting.partition("=")[0].partition(".")[0].partition("[")[0] for setting in settings}
    tried |= {"crds", "podDisruptionBudget", "rbac"}
    assert tried == set(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))


def test_argo_cd_gets_a_health_check_for_every_kind_with_a_status(render: Callable[..., str]) -> None:
    (configuration,) = of_kind([*yaml.safe_load_all(render("argocd.healthChecks=true"))], "ConfigMap")
    script = (CHART / "files/argocd/health.lua").read_text(encoding="utf-8")
    kinds = {resource.kind for resource in (RELEASES, BINDINGS, SERVERS)}
    assert configuration["data"] == {f"resource.customizations.health.{GROUP}_{kind}": script for kind in kinds}


def test_the_alerts_are_a_rule_file_and_the_spec_of_a_prometheus_rule(render: Callable[..., str]) -> None:
    settings = ("prometheusRule.enabled=true", "prometheusRule.labels.release=monitoring")
    (rule,) = of_kind([*yaml.safe_load_all(render(*settings))], "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files/prometheus/alerts.yaml").read_text(encoding="utf-8"))
    assert rule["metadata"]["labels"]["release"] == "monitoring"


def test_the_dashboard_reaches_grafana_as_it_is(render: Callable[..., str]) -> None:
    settings = ("grafanaDashboard.enabled=true", "grafanaDashboard.labels.team=ml")
    (configuration,) = of_kind([*yaml.safe_load_all(render(*settings))], "ConfigMap")
    assert configuration["data"] == {
        "relora-operator.json": (CHART / "files/grafana/relora-operator.json").read_text(encoding="utf-8")
    }
    assert configuration["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "team": "ml"}.items()


def test_a_service_monitor_selects_the_service(render: Callable[..., str]) -> None:
    rendered = [*yaml.safe_load_all(render("serviceMonitor.enabled=true", "serviceMonitor.labels.release=monitoring"))]
    (monitor,), (service,) = of_kind(rendered, "ServiceMonitor"), of_kind(rendered, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    assert monitor["metadata"]["labels"]["release"] == "monitoring"


def test_a_network_policy_lets_chosen_pods_reach_the_endpoints_and_nothing_else(render: Callable[..., str]) -> None:
    chosen = "networkPolicy.from[0].podSelector.matchLabels.app=prometheus"
    everybody = [*yaml.safe_load_all(render("networkPolicy.enabled=true"))]
    (policy,), (deployment,) = of_kind(everybody, "NetworkPolicy"), of_kind(everybody, "Deployment")
    template = deployment["spec"]["template"]
    (ports,) = [container["ports"] for container in template["spec"]["containers"]]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [port["containerPort"] for port in ports]
    assert rule["from"] == [{"namespaceSelector": {}}]
    (policy,) = of_kind([*yaml.safe_load_all(render("networkPolicy.enabled=true", chosen))], "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]


def test_a_network_policy_without_peers_is_refused(render: Callable[..., str]) -> None:
    assert "networkPolicy" in render("networkPolicy.enabled=true", "networkPolicy.from=null", check=False)


def test_an_image_is_required_by_digest(render: Callable[..., str]) -> None:
    assert "image.repository is empty" in render(image=False, check=False)
    assert "image.digest is empty" in render("image.repository=a/b", image=False, check=False)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"image": {"digest": "sha256:abc"}}, "sha256:abc"),
        ({"image": {"repository": "a/b@sha256:1"}}, "a/b@sha256:1"),
        ({"image": {"pullPolicy": "Sometimes"}}, "Sometimes"),
        ({"replicas": -1}, "-1"),
        ({"replicas": "two"}, "two"),
        ({"logLevel": "debug"}, "debug"),
        ({"extraArgs": ["workers"]}, "workers"),
        ({"extraArgs": ["--workers"]}, "--workers"),
        ({"extraArgs": ["--lease-name=mine"]}, "--lease-name=mine"),
        ({"extraArgs": ["--lease-n=mine"]}, "--lease-n=mine"),
        ({"extraArgs": ["--http-port=9000"]}, "--http-port=9000"),
        ({"extraArgs": ["--namespace=other"]}, "--namespace=other"),
        ({"extraArgs": ["--kubeconfig=/x"]}, "--kubeconfig=/x"),
        ({"networkPolicy": {"from": []}}, "[]"),
        ({"networkPolicy": {"from": None}}, "None"),
        ({"networkPolicy": {"enabled": True}}, "from"),
        ({"networkPolicy": {"from": [{"pods": {}}]}}, "pods"),
        ({"crds": {"keep": "yes"}}, "yes"),
        ({"rbac": {"create": True}}, "create"),
        ({"resources": {"limit": {}}}, "limit"),
        ({"service": {"port": 0}}, "0"),
        ({"argocd": {"healthChecks": "yes"}}, "yes"),
        ({"serviceMonitor": {"enable": True}}, "enable"),
        ({"grafanaDashboard": {"labels": {"a": 1}}}, "1"),
        ({"podLabels": {"a": 1}}, "1"),
        ({"imagePullSecrets": ["registry"]}, "registry"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=re.escape(field)):
        jsonschema.validate(values, yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8")))


def test_every_extra_argument_of_the_schema_is_a_flag_of_the_operator() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    (flags,) = re.findall(r"\^--\(([a-z|-]+)\)=", schema["properties"]["extraArgs"]["items"]["pattern"])
    comment = (CHART / "values.yaml").read_text(encoding="utf-8").partition("extraArgs:")[0]
    for flag in flags.split("|"):
        argument = f"--{flag}=7"
        jsonschema.validate({"extraArgs": [argument]}, schema)
        assert parse_arguments(["run", argument], IN_A_POD) != parse_arguments(["run"], IN_A_POD)
        assert f"--{flag}" in comment


def test_helm_refuses_what_the_schema_refuses(render: Callable[..., str]) -> None:
    assert "additional properties 'replica' not allowed" in render("replica=3", check=False)


def test_defaults_fit_their_schema_which_knows_every_one_of_them() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(values, schema)
    assert set(values) == set(schema["properties"]) - {"global"}


def test_every_value_is_documented() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    undocumented = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"^  (repository|digest|pullPolicy|enabled|keep|aggregate|port|healthChecks|from):", line)
        and not before.startswith("  #")
    ]
    assert undocumented == []


def granted(documents: Documents) -> Iterator[tuple[str, str, str]]:
    """Yield group, resource and verb of each right of the operator's own roles."""
    own = [
        role
        for role in of_kind(documents, "ClusterRole") + of_kind(documents, "Role")
        if role["metadata"]["name"] == "relora-operator"
    ]
    assert len(own) == 2
    for role in own:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from ((group, resource, verb) for verb in rule["verbs"])


def test_no_role_has_a_wildcard_or_reads_secrets(documents: Documents) -> None:
    for role in of_kind(documents, "ClusterRole") + of_kind(documents, "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "configmaps", "pods/exec", "serviceaccounts/token"} & set(rule["resources"])


def test_operator_may_do_what_its_code_does_and_nothing_else(documents: Documents) -> None:
    used = [value for value in vars(resources).values() if isinstance(value, ResourceType)]
    rights = set(granted(documents))
    assert {(group, resource.partition("/")[0]) for group, resource, _ in rights} == {
        (resource.group, resource.plural) for resource in used
    }
    for resource in WATCHED:
        # The resync reads one by one what the watches missed.
        assert {(resource.group, resource.plural, verb) for verb in ("get", "list", "watch")} <= rights
    writes = {right for right in rights if right[2] not in {"get", "list", "watch"}}
    assert writes == {
        *(
            ("relora.dev", f"{plural}/status", "patch")
            for plural in ("basemodelreleases", "adapterbindings", "adapterservers")
        ),
        *(("batch", "jobs", verb) for verb in ("create", "patch", "delete")),
        ("apps", "deployments", "patch"),
        ("events.k8s.io", "events", "create"),
        *(("coordination.k8s.io", "leases", verb) for verb in ("create", "update")),
    }


def test_the_operator_understands_its_arguments(documents: Documents) -> None:
    (deployment,) = of_kind(documents, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {variable["name"]: variable.get("value", "from-the-pod") for variable in container["env"]}
    settings = parse_arguments(container["args"], given)
    assert settings.namespace == settings.identity == "from-the-pod"
    (port,) = container["ports"]
    assert port["containerPort"] == settings.http_port
    (role,) = [role for role in of_kind(documents, "Role") if role["metadata"]["name"] == "relora-operator"]
    assert [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule] == [[settings.lease_name]]


def test_pods_fulfil_the_restricted_pod_security_standard(documents: Documents) -> None:
    (deployment,) = of_kind(documents, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir"}


def test_service_and_budget_select_the_operators_pods(documents: Documents) -> None:
    (deployment,) = of_kind(documents, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    (service,), (budget,) = of_kind(documents, "Service"), of_kind(documents, "PodDisruptionBudget")
    assert service["spec"]["selector"].items() <= labels
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels

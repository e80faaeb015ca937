"""Every alert and every panel asks for metrics, labels and values that the operator exports."""

import importlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.metrics import MetricWrapperBase

from gitops.recorded import recorded
from observability.queries import (
    DASHBOARD,
    TARGET_LABELS,
    Query,
    alert_rules,
    panels,
    queries,
    result_labels,
    server_reasons,
    uses,
)
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_operator.core.reasons import REGISTRY as REASONS
from relora_operator.core.reasons import Blame
from relora_operator.metrics import ReleaseStates, ServerStates

QUERIES = queries()
# What is read from statuses at a scrape has the values of these stories of the operator.
TOLD = (
    "AllPromoted",
    "DeltaFailed",
    "UpgradeOverdue",
    "FallbackUnavailable",
    "FieldConflict",
    "RolloutFailed",
    "SetTooLarge",
    "ConsentMissing",
    "TargetNotFound",
    "TargetConflict",
    "TargetControlled",
    "unknown first release",
)
# Codes of HTTP: those of a healthy operator are the few that happened.
OPEN = {("relora_client_request_seconds_count", "code"), ("relora_step_duration_seconds_count", "outcome")}


@dataclass
class Offer:
    """Labels by name of a sample, and values by name of a sample and of a label."""

    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    values: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, families: Iterable[Metric]) -> None:
        for family in families:
            for sample in family.samples:
                self.labels[sample.name] |= set(sample.labels) | TARGET_LABELS
                for label, value in sample.labels.items():
                    self.values[sample.name, label].add(value)


@pytest.fixture(scope="module")
def offer() -> Offer:
    """What the registry of the operator's process has, with the labels that its metrics are declared with."""
    importlib.import_module("relora_operator.process")  # and with it every metric
    offered = Offer()
    offered.add(REGISTRY.collect())
    for collector, names in REGISTRY._collector_to_names.items():
        if isinstance(collector, MetricWrapperBase):
            for name in names:
                bucket = {"le"} if name.endswith("_bucket") else set()
                offered.labels[name] |= {*collector._labelnames, *bucket, *TARGET_LABELS}
    stored = [one for story in TOLD for one in recorded(story)]
    releases = [BaseModelRelease.model_validate(one) for one in stored if one["kind"] == "BaseModelRelease"]
    servers = [AdapterServer.model_validate(one) for one in stored if one["kind"] == "AdapterServer"]
    offered.add(ReleaseStates(lambda: releases).collect())
    offered.add(ServerStates(lambda: servers).collect())
    return offered


def test_the_files_ask_something() -> None:
    assert len(alert_rules()) == 10
    assert len(panels()) == 21
    assert len(QUERIES) >= 32


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.asked_by)
def test_a_query_asks_for_what_is_exported(query: Query, offer: Offer) -> None:
    used = uses(query.expression)
    assert used
    for use in used:
        assert use.metric in offer.labels
        assert use.labels <= offer.labels[use.metric]
        for label, pattern in use.values:
            known = offer.values[use.metric, label]
            assert (use.metric, label) in OPEN or any(re.fullmatch(pattern, value) for value in known)
    assert query.shown <= result_labels(query.expression, offer.labels)


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("m", {"a", "b"}),
        ('max by (a) (m{b=~"x|y"}) > 0', {"a"}),
        ("sum(m)", set()),
        ("1 - sum by (b) (rate(m[5m]))", {"b"}),
        ("m unless on (a) max by (a) (n)", {"a", "b"}),
        ("m or n", {"a"}),
        ("histogram_quantile(0.9, sum by (le, a) (rate(h[5m])))", {"a"}),
        ("absent(m == 1)", set()),
    ],
)
def test_a_result_has_the_labels_that_no_aggregation_loses(expression: str, labels: set[str]) -> None:
    offered = {"m": {"a", "b"}, "n": {"a", "c"}, "h": {"a", "b", "le"}}
    assert result_labels(expression, offered) == labels


def test_an_alert_names_every_reason_that_the_owner_of_a_server_must_remove() -> None:
    owners = {reason: entry for reason, entry in REASONS.items() if entry.blame is Blame.OWNER}
    assert server_reasons() == {
        reason.value for reason, entry in owners.items() if "AdapterServer.UpToDate" in entry.conditions
    }


def test_every_metric_of_the_operator_is_shown(offer: Offer) -> None:
    suffix = re.compile("_(bucket|count|sum|created|total)$")
    own = {suffix.sub("", name) for name in offer.labels if name.startswith("relora_")}
    assert own == {suffix.sub("", use.metric) for query in QUERIES for use in uses(query.expression)} - {
        "process_resident_memory_bytes",
        "process_cpu_seconds",
    }


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_what_goes_on_and_how_bad_it_is(rule: dict[str, dict[str, str]]) -> None:
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert len(rule["annotations"]["description"]) > len(rule["annotations"]["summary"])


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_the_dashboard_works_with_any_data_source() -> None:
    for panel in panels():
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
    assert re.findall(r"label_values\((\w+)", DASHBOARD.read_text(encoding="utf-8")) == ["relora_bindings"] * 2


def test_counters_begin_at_zero_so_that_their_first_event_is_seen(offer: Offer) -> None:
    assert offer.values["relora_rollouts_total", "outcome"] == {"Promoted", "RolledBack"}
    assert offer.values["relora_gate_verdicts_total", "step"] == {"port", "fuse", "recover", "refine"}
    assert offer.values["relora_gate_verdicts_total", "verdict"] == {"Passed", "Failed", "Inconclusive"}

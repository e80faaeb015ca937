"""Each alert fires when it should, says what it should, and is silent otherwise; Prometheus itself decides."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from observability.queries import ALERTS, alert_rules

pytestmark = pytest.mark.integration

Series = dict[str, str]
"""Values once a minute, in promtool's notation, by series."""


@dataclass(frozen=True)
class Case:
    """What happens, and what the alert makes of it.

    Attributes:
        minute: When it is looked at.
        labels: Of the firing alert; None when it must not fire.
        told: What its texts say in place of their templates.
    """

    alert: str
    happens: str
    series: Series
    minute: int
    labels: dict[str, str] | None = None
    told: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.alert}: {self.happens}"


ONE = 'relora_leader{instance="one"}'
TWO = 'relora_leader{instance="two"}'
REQUESTS = 'relora_client_request_seconds_count{{verb="GET", resource="jobs", code="{}"}}'
WAITED = 'relora_queue_wait_seconds_bucket{{kind="AdapterBinding", le="{}"}}'
ROLLOUTS = 'relora_rollouts_total{{outcome="{}"}}'
BINDINGS = 'relora_bindings{{model="m", release="{}", state="{}"}}'
HALTED = 'relora_release_halted{{model="m", release="{}"}}'
STALLED = 'relora_release_stalled{{model="m", release="r2", reason="{}"}}'
SERVERS = 'relora_servers{{model="m", reason="{}"}}'
VERDICTS = 'relora_gate_verdicts_total{{step="{}", verdict="{}"}}'
RELEASE = {"model": "m", "release": "r2", "severity": "warning"}
WARNING = {"severity": "warning"}

CASES = [
    Case(
        "ReLoRANoLeader",
        "the leader ends and no one follows",
        {ONE: "1 1 1 0x9", TWO: "0x12"},
        6,
        {"severity": "critical"},
    ),
    Case("ReLoRANoLeader", "nothing is scraped", {}, 3, {"severity": "critical"}),
    Case("ReLoRANoLeader", "another replica takes over", {ONE: "1 1 1 0x9", TWO: "0 0 0 0 1x8"}, 6),
    Case(
        "ReLoRAResyncStale",
        "the lists fail, and the replica is not restarted yet",
        {'relora_resync_age_seconds{instance="one"}': "0+60x10 0+60x5"},
        10,
        {"instance": "one", **WARNING},
        {"{{ $value | humanizeDuration }}": "10m 0s"},
    ),
    Case(
        "ReLoRAResyncStale",
        "a large fleet is compared every five minutes",
        {'relora_resync_age_seconds{instance="one"}': "0+60x5 0+60x5 0+60x5 0+60x5"},
        20,
    ),
    Case(
        "ReLoRAClientErrors",
        "one request in ten is not answered",
        {REQUESTS.format("200"): "0+90x40", REQUESTS.format("none"): "0+10x40"},
        30,
        WARNING,
        {"{{ $value | humanizePercentage }}": "10%"},
    ),
    Case(
        "ReLoRAClientErrors",
        "the roles are gone",
        {REQUESTS.format("200"): "0+10x40", REQUESTS.format("403"): "0+10x40"},
        30,
        WARNING,
        {"{{ $value | humanizePercentage }}": "50%"},
    ),
    Case(
        "ReLoRAClientErrors",
        "conflicts and what is not there are part of the work",
        {REQUESTS.format("200"): "0+10x40", REQUESTS.format("409"): "0+10x40", REQUESTS.format("404"): "0+10x40"},
        30,
    ),
    Case(
        "ReLoRAQueueWait",
        "one object in five waits for half a minute",
        {
            WAITED.format("1"): "0+80x60",
            WAITED.format("5"): "0+80x60",
            WAITED.format("30"): "0+100x60",
            WAITED.format("+Inf"): "0+100x60",
        },
        40,
        WARNING,
        {"{{ $value | humanizeDuration }}": "17.5s"},
    ),
    Case(
        "ReLoRAQueueWait",
        "nearly all are taken at once",
        {
            WAITED.format("1"): "0+95x60",
            WAITED.format("5"): "0+95x60",
            WAITED.format("30"): "0+100x60",
            WAITED.format("+Inf"): "0+100x60",
        },
        40,
    ),
    Case("ReLoRAQueueWait", "nothing happens", {WAITED.format("1"): "7x60", WAITED.format("+Inf"): "9x60"}, 40),
    Case(
        "ReLoRARolloutRolledBack",
        "the first one ever",
        {ROLLOUTS.format("RolledBack"): "0x10 1x20", ROLLOUTS.format("Promoted"): "0x30"},
        12,
        WARNING,
    ),
    Case(
        "ReLoRARolloutRolledBack",
        "it was two hours ago",
        {ROLLOUTS.format("RolledBack"): "0x10 1x140", ROLLOUTS.format("Promoted"): "0x150"},
        140,
    ),
    Case(
        "ReLoRARolloutRolledBack",
        "roll-outs end well",
        {ROLLOUTS.format("RolledBack"): "0x30", ROLLOUTS.format("Promoted"): "0+1x30"},
        20,
    ),
    Case(
        "ReLoRAServerStuck",
        "two servers wait for members that did not pass in time",
        {SERVERS.format("UpgradeOverdue"): "_x5 2x60", SERVERS.format("NewestRelease"): "7x65"},
        30,
        {"model": "m", "reason": "UpgradeOverdue", **WARNING},
        {"{{ $value }}": "2", "{{ $labels.model }}": "m", "{{ $labels.reason }}": "UpgradeOverdue"},
    ),
    Case(
        "ReLoRAServerStuck",
        "another manager took the annotations of a server",
        {SERVERS.format("FieldConflict"): "1x60"},
        30,
        {"model": "m", "reason": "FieldConflict", **WARNING},
        {"{{ $value }}": "1", "{{ $labels.model }}": "m", "{{ $labels.reason }}": "FieldConflict"},
    ),
    Case(
        "ReLoRAServerStuck",
        "the pods of the first set do not get ready",
        {SERVERS.format("RolloutFailed"): "1x60"},
        30,
        {"model": "m", "reason": "RolloutFailed", **WARNING},
        {"{{ $value }}": "1", "{{ $labels.model }}": "m", "{{ $labels.reason }}": "RolloutFailed"},
    ),
    Case(
        "ReLoRAServerStuck",
        "a workload is gone",
        {SERVERS.format("TargetNotFound"): "_x5 1x60", SERVERS.format("NewestRelease"): "7x65"},
        30,
        {"model": "m", "reason": "TargetNotFound", **WARNING},
        {"{{ $value }}": "1", "{{ $labels.model }}": "m", "{{ $labels.reason }}": "TargetNotFound"},
    ),
    Case("ReLoRAServerStuck", "servers wait in time", {SERVERS.format("AwaitingBindings"): "2x60"}, 40),
    Case(
        "ReLoRAServerStuck",
        "it was for a moment, until the last member passed",
        {SERVERS.format("UpgradeOverdue"): "_x20 1x4 _x40", SERVERS.format("NewestRelease"): "7x65"},
        45,
    ),
    Case(
        "ReLoRAReleaseHalted",
        "too much failed",
        {HALTED.format("r1"): "0x30", HALTED.format("r2"): "0x5 1x25"},
        10,
        RELEASE,
        {"{{ $labels.release }}": "r2"},
    ),
    Case("ReLoRAReleaseHalted", "its failures were accepted", {HALTED.format("r2"): "0x5 1x10 0x15"}, 20),
    Case(
        "ReLoRAReleaseStalled",
        "its delta failed",
        {STALLED.format("DeltaFailed"): "_x5 1x60", HALTED.format("r2"): "0x65"},
        30,
        {**RELEASE, "reason": "DeltaFailed"},
        {"{{ $labels.release }}": "r2", "{{ $labels.reason }}": "DeltaFailed"},
    ),
    Case(
        "ReLoRAReleaseStalled",
        "it is halted, which another alert tells",
        {STALLED.format("CanaryFailed"): "1x60", HALTED.format("r2"): "1x60"},
        40,
    ),
    Case(
        "ReLoRAReleaseStalled",
        "its profile came a few minutes later",
        {STALLED.format("ProfileNotFound"): "1x6 _x50", HALTED.format("r2"): "0x60"},
        30,
    ),
    Case(
        "ReLoRAReleaseStuck",
        "two bindings wait for seven hours",
        {BINDINGS.format("r2", "queued"): "2x480", BINDINGS.format("r2", "promoted"): "8x480"},
        430,
        RELEASE,
        {"{{ $labels.release }}": "r2", "{{ $value }}": "2"},
    ),
    Case(
        "ReLoRAReleaseStuck",
        "one binding after the other",
        {
            BINDINGS.format("r2", "queued"): "10x49 9x49 8x49 7x49 6x49 5x49 4x49 3x49 2x99",
            BINDINGS.format("r2", "promoted"): "0x480",
        },
        430,
    ),
    Case(
        "ReLoRAReleaseStuck",
        "it is suspended, or waits for its delta",
        {BINDINGS.format("r2", "pending"): "2x480", BINDINGS.format("r2", "promoted"): "8x480"},
        430,
    ),
    Case(
        "ReLoRAReleaseStuck",
        "all came to an end",
        {
            BINDINGS.format("r2", "promoted"): "8x480",
            BINDINGS.format("r2", "queued"): "0x480",
            BINDINGS.format("r2", "failed"): "2x480",
        },
        430,
    ),
    Case(
        "ReLoRAGateFailures",
        "four in five fail after the last step",
        {
            VERDICTS.format("refine", "Failed"): "0x5 4x60",
            VERDICTS.format("refine", "Inconclusive"): "0x65",
            VERDICTS.format("refine", "Passed"): "0x5 1x60",
        },
        30,
        WARNING,
        {"{{ $value | humanizePercentage }}": "80%"},
    ),
    Case(
        "ReLoRAGateFailures",
        "gates fail on the way",
        {
            VERDICTS.format("port", "Failed"): "0x5 9x60",
            VERDICTS.format("refine", "Failed"): "0x65",
            VERDICTS.format("refine", "Passed"): "0x5 9x60",
        },
        30,
    ),
    Case(
        "ReLoRAGateFailures",
        "the only one fails",
        {VERDICTS.format("refine", "Failed"): "0x5 1x60", VERDICTS.format("refine", "Passed"): "0x65"},
        30,
    ),
]


def promtool(programs: Path, *arguments: str) -> str:
    done = subprocess.run([programs / "promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def texts(case: Case) -> dict[str, str]:
    """Return the alert's annotations with their templates filled in."""
    (rule,) = (rule for rule in alert_rules() if rule["alert"] == case.alert)
    filled = {}
    for name, text in rule["annotations"].items():
        for template, value in case.told.items():
            text = text.replace(template, value)  # noqa: PLW2901 - filled in one after the other
        filled[name] = text
    return filled


def test_prometheus_takes_the_rule_file(prometheus_programs: Path) -> None:
    assert f"{len(alert_rules())} rules found" in promtool(prometheus_programs, "check", "rules", str(ALERTS))


def test_every_alert_fires_in_one_case_and_is_silent_in_another() -> None:
    names = {rule["alert"] for rule in alert_rules()}
    assert names == {case.alert for case in CASES if case.labels is not None}
    assert names == {case.alert for case in CASES if case.labels is None}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_alert_fires_when_it_should(case: Case, prometheus_programs: Path, tmp_path: Path) -> None:
    fired = [] if case.labels is None else [{"exp_labels": case.labels, "exp_annotations": texts(case)}]
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [{"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": fired}],
            }
        ],
    }
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    promtool(prometheus_programs, "test", "rules", str(path))

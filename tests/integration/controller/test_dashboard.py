"""A real Prometheus scrapes a real operator while a release passes through, and answers every query of the chart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.api import eventually
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet, passes_at
from controller.replica import Replica
from observability.queries import ALERTS, TARGET_LABELS, alert_rules, queries
from observability.server import PrometheusServer

pytestmark = pytest.mark.integration

# On a machine that is very busy the usual Lease of these tests is lost, and nothing restarts the operator here.
OPTIONS = ("--resync-seconds", "2", "--lease-duration-seconds", "60")

# Nothing need fail in this story.
QUIET = {"Requests that failed", "Steps that failed", *(rule["alert"] for rule in alert_rules())}


def test_every_query_is_answered_with_what_the_operator_exports(
    start_replica: Callable[..., Replica],
    fleet: Fleet,
    kubelet: FakeKubelet,
    prometheus_programs: Path,
    tmp_path: Path,
) -> None:
    replica = start_replica(*OPTIONS)
    replica.await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    kubelet.ending = passes_at("fuse")

    with PrometheusServer(prometheus_programs, tmp_path, target=replica.port, rules=ALERTS) as prometheus:
        eventually(lambda: prometheus.value("count_over_time(relora_leader[1m])") >= 2, "the operator was scraped")
        fleet.release(fleet.r2, fleet.r1)
        eventually(lambda: fleet.serves(fleet.r2) and fleet.complete(fleet.r2), "the second release is served")
        promoted = f'relora_bindings{{release="{fleet.r2}", state="promoted"}} == {len(fleet.names)}'
        # A rate needs two samples of a series, and some begin only now.
        eventually(lambda: prometheus.value(f"count_over_time(({promoted})[1m:1s])") >= 3, "the end was scraped")

        for query in queries():
            answer = prometheus.query(query.expression)
            assert answer or query.asked_by in QUIET, query
            for series in answer:
                assert query.shown - TARGET_LABELS <= set(series["metric"]), query
        assert [rule["name"] for rule in prometheus.rules()] == [rule["alert"] for rule in alert_rules()]
        assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
        assert "firing" not in {rule["state"] for rule in prometheus.rules()}
        assert prometheus.value('sum(increase(relora_gate_verdicts_total{step="fuse", verdict="Passed"}[1h]))') > 0
        assert prometheus.value('sum(increase(relora_rollouts_total{outcome="Promoted"}[1h]))') > 0

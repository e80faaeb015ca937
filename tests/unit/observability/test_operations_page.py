"""The page for operators lists the metrics and the alerts that there are."""

import importlib
import re
from itertools import chain
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from observability.queries import alert_rules, server_reasons
from relora_contract.api.release import BindingCounts as BindingStates
from relora_operator.metrics import ReleaseStates, ServerStates

PAGE = (Path(__file__).parents[3] / "docs/operations.md").read_text(encoding="utf-8")

Row = tuple[str, str, frozenset[str]]


def exported() -> set[Row]:
    """Return name, type and labels of every metric of ours."""
    importlib.import_module("relora_operator.process")  # and with it every metric
    rows = set()
    for collector in REGISTRY._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.add((name, family.type, frozenset(collector._labelnames)))
    read_at_a_scrape = chain(ReleaseStates(list).collect(), ServerStates(list).collect())
    return rows | {(one.name, one.type, frozenset(one._labelnames)) for one in read_at_a_scrape}


def test_the_page_lists_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(relora_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    assert {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == exported()


def test_the_page_names_every_state_of_a_binding() -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| `relora_bindings`"))
    named = set(re.findall(r"`(\w+)`", row)) - {"relora_bindings", "model", "release", "state"}
    assert named == set(BindingStates.model_fields) - {"eligible"}


def test_the_page_says_what_to_do_for_every_alert() -> None:
    assert re.findall(r"^\| `(ReLoRA\w+)` \|", PAGE, re.MULTILINE) == [rule["alert"] for rule in alert_rules()]


def test_the_page_names_every_reason_of_a_stuck_server() -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| `ReLoRAServerStuck`"))
    assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == server_reasons()

"""The queries of the chart's alerts and dashboard, and what they use of each metric."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

FILES = Path(__file__).parents[2] / "charts/relora-operator/files"
ALERTS = FILES / "prometheus/alerts.yaml"
DASHBOARD = FILES / "grafana/relora-operator.json"

TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus itself adds to every sample."""

# What Grafana fills in.
_VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$model": ".*", "$release": ".*"}


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        asked_by: Name of the alert, or title of the panel.
        expression: PromQL.
        shown: Labels that a text of the alert or a legend of the panel takes from the result.
    """

    asked_by: str
    expression: str
    shown: frozenset[str]


@dataclass(frozen=True)
class Use:
    """One metric in a query.

    Attributes:
        metric: Name of its samples.
        labels: Labels by which it is selected, grouped or joined.
        values: By label, the patterns that one of its values must match.
    """

    metric: str
    labels: frozenset[str]
    values: tuple[tuple[str, str], ...]

    def also(self, labels: list[str]) -> "Use":
        """Return the use with further labels."""
        return replace(self, labels=self.labels | set(labels))


def alert_rules() -> list[dict[str, Any]]:
    """Return the alerts as they are written."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that ask something."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[Query]:
    """Return every query of the alerts and of the dashboard, with Grafana's variables filled in."""
    asked = [
        Query(rule["alert"], rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))))
        for rule in alert_rules()
    ]
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            shown = frozenset(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            asked.append(Query(panel["title"], expression, shown))
    return asked


def uses(expression: str) -> list[Use]:
    """Return what an expression uses of each metric in it."""
    return list(_uses(promql.parse(expression)))


def _uses(part: promql.Expr) -> Iterator[Use]:
    match part:
        case promql.VectorSelector():
            yield _selected(part)
        case promql.MatrixSelector():
            yield _selected(part.vector_selector)
        case promql.AggregateExpr():
            grouped = part.modifier.labels if part.modifier else []
            yield from (use.also(grouped) for use in _uses(part.expr))
        case promql.BinaryExpr():
            matching = part.modifier.matching if part.modifier else None
            joined = matching.labels if matching else []
            yield from (use.also(joined) for side in (part.lhs, part.rhs) for use in _uses(side))
        case promql.Call():
            yield from (use for argument in part.args for use in _uses(argument))
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            yield from _uses(part.expr)
        case promql.NumberLiteral() | promql.StringLiteral():
            pass
        case _:
            raise AssertionError(f"an expression of a kind that this reader does not know: {part.prettify()}")


def server_reasons() -> set[str]:
    """Return the reasons of servers for which `ReLoRAServerStuck` fires."""
    (rule,) = (rule for rule in alert_rules() if rule["alert"] == "ReLoRAServerStuck")
    return {value for use in uses(rule["expr"]) for label, value in use.values if label == "reason"}


def result_labels(expression: str, offered: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the labels that the result of an expression can have.

    Args:
        expression: PromQL.
        offered: Labels by metric.
    """
    return _kept(promql.parse(expression), offered)


def _kept(part: promql.Expr, offered: Mapping[str, Collection[str]]) -> frozenset[str]:
    labels: frozenset[str]
    match part:
        case promql.VectorSelector() | promql.MatrixSelector():
            (use,) = _uses(part)
            labels = frozenset(offered[use.metric])
        case promql.AggregateExpr():
            grouped = part.modifier
            assert grouped is None or grouped.type == promql.AggModifierType.By
            labels = _kept(part.expr, offered) & frozenset(grouped.labels if grouped else ())
        case promql.BinaryExpr():
            sides = [_kept(side, offered) for side in _vectors([part.lhs, part.rhs])]
            # `or` takes series from both sides; else the left side decides, or the one that is no number.
            labels = sides[0] & sides[-1] if str(part.op) == "or" else sides[0]
        case promql.Call() if part.func.name == "absent":
            labels = frozenset()
        case promql.Call():
            (vector,) = _vectors(part.args)
            labels = _kept(vector, offered) - ({"le"} if part.func.name == "histogram_quantile" else set())
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            labels = _kept(part.expr, offered)
        case _:
            raise AssertionError(f"an expression of a kind that this reader does not know: {part.prettify()}")
    return labels


def _vectors(parts: list[promql.Expr]) -> list[promql.Expr]:
    return [part for part in parts if not isinstance(part, (promql.NumberLiteral, promql.StringLiteral))]


def _selected(selector: promql.VectorSelector) -> Use:
    assert selector.name is not None
    matchers = selector.matchers.matchers
    alternatives = ((matcher.name, value) for matcher in matchers for value in matcher.value.split("|"))
    return Use(selector.name, frozenset(matcher.name for matcher in matchers), tuple(alternatives))

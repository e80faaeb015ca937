"""For each CEL rule, by its message: changes that it accepts and changes that it refuses.

Changes are relative to the place of the rule. A rule without an entry fails the test that looks for it.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import Any

from admission.attempts import Attempt
from admission.constraints import Constraint
from admission.documents import Steps, field_path, removed, replaced
from samples.kinds import digest


class _Marker(Enum):
    ABSENT = "absent"


ABSENT = _Marker.ABSENT
Changes = Mapping[Steps, object]


@dataclass(frozen=True)
class RuleCase:
    """What a rule accepts and what it refuses."""

    accepted: tuple[Changes, ...]
    refused: tuple[Changes, ...]


def one(*steps: str | int, values: tuple[object, ...]) -> tuple[Changes, ...]:
    """Return one change of a single place for each value."""
    return tuple({steps: value} for value in values)


NAME = ("metadata", "name")
SAME_DATA = {"uri": "s3://data/other.jsonl", "digest": digest("test")}
CHAT = [{"role": "user", "content": "Text: {text}"}]
SAME_TRAINING_DATA = {"uri": "s3://data/other.jsonl", "digest": digest("train")}

CASES: dict[str, RuleCase] = {
    "the name has more than 40 characters: shorten it, names of Jobs are derived from it": RuleCase(
        accepted=({NAME: "a" * 40},), refused=({NAME: "a" * 41},)
    ),
    "the name must be a DNS label: lower-case letters, digits and '-', no '.'": RuleCase(
        accepted=({NAME: "a-1"},), refused=({NAME: "a.b"},)
    ),
    "the release supersedes itself: name the release before it": RuleCase(
        accepted=({},), refused=({NAME: "same", ("spec", "supersedes"): "same"},)
    ),
    "give values with the operators In and NotIn, and none with Exists and DoesNotExist": RuleCase(
        accepted=({("operator",): "NotIn"}, {("operator",): "Exists", ("values",): ABSENT}),
        refused=(
            {("operator",): "Exists"},
            {("operator",): "DoesNotExist"},
            {("values",): ABSENT},
            {("operator",): "NotIn", ("values",): []},
        ),
    ),
    "give a selector with from: Selector, and only with it": RuleCase(
        accepted=({("from",): "All", ("selector",): ABSENT}, {("from",): "Same", ("selector",): ABSENT}),
        refused=({("from",): "Same"}, {("from",): "All"}, {("selector",): ABSENT}),
    ),
    "Split needs a second workload, which serves those that did not pass: give fallbackTargetRef": RuleCase(
        accepted=(
            {("stragglers",): "Block"},
            {("stragglers",): "Block", ("fallbackTargetRef",): ABSENT},
            {("stragglers",): ABSENT, ("fallbackTargetRef",): ABSENT},
        ),
        refused=({("fallbackTargetRef",): ABSENT},),
    ),
    "the fallback serves another base at the same time: name another workload than in targetRef": RuleCase(
        accepted=(
            {("upgrade",): ABSENT},
            {("upgrade", "stragglers"): "Block", ("upgrade", "fallbackTargetRef"): ABSENT},
        ),
        refused=({("upgrade", "fallbackTargetRef", "name"): "vllm"}, {("targetRef", "name"): "vllm-old"}),
    ),
    "the name has no effect without spec.serverRef: add the server or remove the name": RuleCase(
        accepted=({("serverRef",): ABSENT, ("servedName",): ABSENT}, {("servedName",): ABSENT}),
        refused=({("serverRef",): ABSENT},),
    ),
    "the name has no effect without mode: Manual: set the mode or remove the name": RuleCase(
        accepted=({}, {("approvedReleaseName",): ABSENT, ("mode",): "Automatic"}),
        refused=({("mode",): "Automatic"}, {("mode",): ABSENT}),
    ),
    "write a number, as in 25, or a percentage, as in 10%": RuleCase(
        accepted=({(): 25}, {(): "25"}, {(): "100%"}, {(): 0}),
        refused=({(): "101%"}, {(): "-1"}, {(): "10 %"}, {(): -1}),
    ),
    "give test examples of their own: a gate on examples that were trained on proves nothing": RuleCase(
        accepted=({},), refused=({("train",): SAME_DATA}, {("validation",): SAME_DATA})
    ),
    "give validation examples of their own: the search must not see the training examples": RuleCase(
        accepted=({},), refused=({("validation",): SAME_TRAINING_DATA},)
    ),
    "give promptTemplate, or messages for a base with a chat template, and not both": RuleCase(
        accepted=({}, {("promptTemplate",): ABSENT, ("messages",): CHAT}),
        refused=({("promptTemplate",): ABSENT}, {("messages",): CHAT}),
    ),
    "remove the completion field from the messages: the model would be told the answer": RuleCase(
        accepted=(
            {("promptTemplate",): ABSENT, ("messages",): CHAT},
            {("promptTemplate",): ABSENT, ("messages",): [{"role": "user", "content": "{{label}} {text}"}]},
        ),
        refused=({("promptTemplate",): ABSENT, ("messages",): [{"role": "user", "content": "{text} {label}"}]},),
    ),
    "name a field of the examples in braces in a message, as in {text}: without one every chat is the same": RuleCase(
        accepted=({}, {(): [{"role": "system", "content": "{a}"}, {"role": "user", "content": "Which?"}]}),
        refused=({(0, "content"): "Which?"}, {(0, "content"): "{{text}}"}),
    ),
    "name the classes: one for each row of the adapter's head, in their order": RuleCase(
        accepted=({("kind",): "SequenceClassification"},),
        refused=({("kind",): "SequenceClassification", ("choices",): ABSENT},),
    ),
    "give promptTemplate: messages wait for an answer, and a head classifies what it has read": RuleCase(
        accepted=({("kind",): "SequenceClassification"}, {("promptTemplate",): ABSENT, ("messages",): CHAT}),
        refused=({("kind",): "SequenceClassification", ("promptTemplate",): ABSENT, ("messages",): CHAT},),
    ),
    "end with a message of the user: the answer comes next": RuleCase(
        accepted=({},),
        refused=({(0, "role"): "system"}, {(): [*CHAT, {"role": "assistant", "content": "News."}]}),
    ),
    "remove the completion field from the prompt: the model would be told the answer": RuleCase(
        accepted=one("promptTemplate", values=("{{label}} {text}", "{labels}", "label: {text}")),
        refused=one("promptTemplate", values=("{text} {label}", "{{{label}}}")),
    ),
    "name a field of the examples in braces, as in {text}: without one every prompt is the same": RuleCase(
        accepted=({(): "{text}"}, {(): "{{}} {a_1}"}), refused=({(): "Section:"}, {(): "{{text}}"}, {(): "{}"})
    ),
    "the gate bounds nothing: set threshold, maxRegression or both": RuleCase(
        accepted=({("threshold",): ABSENT}, {("maxRegression",): ABSENT}),
        refused=({("threshold",): ABSENT, ("maxRegression",): ABSENT},),
    ),
    "Accuracy and MacroF1 need task.choices, ExactMatch is for tasks without: choose a metric that fits": RuleCase(
        accepted=(
            {},
            {("task", "choices"): ABSENT, ("quality", "gates", 0, "metric"): "ExactMatch"},
            {("quality", "gates", 0, "metric"): "MacroF1"},
        ),
        refused=(
            {("task", "choices"): ABSENT},
            {("quality", "gates", 0, "metric"): "ExactMatch"},
            {("task", "choices"): ABSENT, ("quality", "gates", 0, "metric"): "MacroF1"},
        ),
    ),
    'Accuracy, MacroF1 and ExactMatch are shares: give a threshold from 0 to 1, as in "0.81"': RuleCase(
        accepted=one("threshold", values=("0", "1", "0.5")), refused=one("threshold", values=("81", "1.01", "-0.1"))
    ),
    "maxRegression is a margin: give a number that is not negative": RuleCase(
        accepted=({(): "0"},), refused=({(): "-0.02"},)
    ),
    "min is not below max: give a range": RuleCase(
        accepted=({("max",): "1e1"}, {("min",): "-1"}),
        refused=({("min",): "4"}, {("min",): "1", ("max",): "1"}),
    ),
    "the range of α leaves out 0: widen it, the old adapter unchanged is (0, 1)": RuleCase(
        accepted=({}, {("alpha",): ABSENT}, {("alpha", "min"): "-0.5", ("alpha", "max"): "0"}),
        refused=({("alpha", "min"): "0.2"}, {("alpha", "min"): "-1", ("alpha", "max"): "-1e-3"}),
    ),
    "the range of β leaves out 1: widen it, the old adapter unchanged is (0, 1)": RuleCase(
        accepted=({}, {("beta",): ABSENT}, {("beta", "min"): "1"}),
        refused=({("beta", "max"): "0.9"}, {("beta", "min"): "1.1"}),
    ),
    "PerModule needs a probe of (0, 1), a fit that costs as much as three, and one of its result: "
    "give a budget of at least 5, or leave granularity out": RuleCase(
        accepted=(
            {("granularity",): "PerModule", ("budget",): 5},
            {("granularity",): "PerModule", ("budget",): ABSENT},
            {("granularity",): "Global", ("budget",): 1},
            {("granularity",): ABSENT, ("budget",): 1},
        ),
        refused=({("granularity",): "PerModule", ("budget",): 4},),
    ),
    "name the queue too: a priority counts within one": RuleCase(
        accepted=({}, {("workloadPriorityClassName",): ABSENT}),
        refused=({("localQueueName",): ABSENT},),
    ),
    'give a share between 0 and 1, as in "0.2"': RuleCase(
        accepted=({(): "0.5"},), refused=({(): "0"}, {(): "1"}, {(): "-0.2"})
    ),
    "give a number that is not negative": RuleCase(accepted=({(): "0"},), refused=({(): "-1e-5"},)),
    "give a number above 0": RuleCase(accepted=({(): "1e-2"},), refused=({(): "0"}, {(): "-1"})),
    "the end of the cosine is above its start: lower minLearningRate, or raise learningRate": RuleCase(
        accepted=({("minLearningRate",): "5e-4"}, {("minLearningRate",): ABSENT, ("learningRate",): ABSENT}),
        refused=(
            {("minLearningRate",): "6e-4"},
            {("minLearningRate",): ABSENT, ("learningRate",): "1e-6"},
            {("minLearningRate",): "6e-4", ("learningRate",): ABSENT},
        ),
    ),
    "put {namespace} into the key: tenants must not share a store, or one could forge another's reports": RuleCase(
        accepted=({(): "s3://adapters/of-{namespace}/v1"},), refused=({(): "s3://adapters/all"},)
    ),
    "remove value: the operator Exists tolerates every value": RuleCase(
        accepted=({}, {("operator",): ABSENT}, {("operator",): "Exists", ("value",): ABSENT}),
        refused=({("operator",): "Exists"},),
    ),
    "give the taint's key, or the operator Exists to tolerate every taint": RuleCase(
        accepted=({("key",): ABSENT, ("operator",): "Exists", ("value",): ABSENT},),
        refused=({("key",): ABSENT}, {("key",): ABSENT, ("operator",): ABSENT}),
    ),
    "a request is above its limit: lower it, or raise the limit": RuleCase(
        accepted=({("requests", "cpu"): "2000m"}, {("limits",): ABSENT}, {("requests", "cpu"): 2}),
        refused=({("requests", "cpu"): 3}, {("limits", "memory"): "1Gi"}),
    ),
    "write a quantity, as in 500m, 16Gi or 1": RuleCase(
        accepted=({(): "500m"}, {(): "1.5"}, {(): 1}), refused=({(): "1 Gi"}, {(): "-1"}, {(): -1})
    ),
}

OTHER_VALUES: dict[str, object] = {
    "spec.model": "another",
    "spec.version": "2027.1",
    "spec.supersedes": "tiny-r0",
    "spec.weights.digest": digest("another"),
    "spec.initialReleaseName": "tiny-r0",
}
"""Valid values that differ from the samples', for fields that are immutable."""


def is_transition(constraint: Constraint) -> bool:
    """Say whether the rule compares with the stored object."""
    return "oldSelf" in constraint.argument["rule"]


def rule_attempts(constraint: Constraint, base: dict[str, Any]) -> Iterator[Attempt]:
    """Yield attempts for a CEL rule on a new object.

    Raises:
        KeyError: Nobody wrote down what the rule accepts and refuses.
    """
    case = CASES.get(constraint.argument["message"]) or _derived(constraint)
    for changes in case.accepted:
        yield Attempt(_changed(base, constraint.steps, changes))
    for changes in case.refused:
        yield _refused(constraint, _changed(base, constraint.steps, changes))


def transition_attempts(constraint: Constraint, stored: dict[str, Any]) -> Iterator[Attempt]:
    """Yield attempts for a rule on changes of the stored object."""
    yield Attempt(replaced(stored, ("metadata", "labels"), {"changed": "yes"}))
    path = field_path(constraint.steps) + constraint.argument.get("fieldPath", "")
    if path in OTHER_VALUES and constraint.argument["rule"] == "self == oldSelf":
        yield _refused(constraint, replaced(stored, constraint.steps, OTHER_VALUES[path]))
    else:
        yield _refused(constraint, removed(stored, tuple(path.split("."))))


def _derived(constraint: Constraint) -> RuleCase:
    """Return the case of a rule that the generator itself wrote."""
    rule = constraint.argument["rule"]
    if rule.startswith("self.matches("):
        return RuleCase(accepted=({},), refused=({(): "?!?"},))
    if rule.startswith("self.all(key, key.size() >= 1 && key.size() <= 317"):
        return RuleCase(accepted=({("k" * 317,): "1"},), refused=({("k" * 318,): "1"}, {("",): "1"}))
    raise KeyError(f"{constraint.label}: no case; add one to {__name__}.CASES")


def _refused(constraint: Constraint, document: dict[str, Any]) -> Attempt:
    where = field_path(constraint.steps) + constraint.argument.get("fieldPath", "")
    return Attempt(document, where.removeprefix("."), constraint.argument["message"])


def _changed(base: dict[str, Any], steps: Steps, changes: Changes) -> dict[str, Any]:
    document = deepcopy(base)
    for place, value in changes.items():
        change = removed(document, (*steps, *place)) if value is ABSENT else replaced(document, (*steps, *place), value)
        document = change
    return document

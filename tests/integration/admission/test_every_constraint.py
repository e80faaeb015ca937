"""Every constraint of every CRD accepts what it should and refuses what it should, on a real API server.

The constraints are found by walking the schemas, so none can be added without being tried.
"""

from typing import Any

import pytest

from admission.api import Admission
from admission.attempts import Attempt, attempts
from admission.constraints import Constraint, constraints
from admission.documents import Steps, replaced
from admission.examples import example
from admission.rules import CASES, is_transition, rule_attempts, transition_attempts
from relora_contract.api.binding import AdapterBinding
from relora_contract.crd.definition import KINDS, kind_schema
from samples.kinds import chat_binding, every_kind

pytestmark = pytest.mark.integration

STORED = every_kind()
NEW = {kind: replaced(document, ("metadata", "name"), "tried") for kind, document in STORED.items()}
TEMPLATE_OR_MESSAGES: tuple[Steps, Steps] = (("spec", "task", "promptTemplate"), ("spec", "task", "messages"))
CHAT = replaced(chat_binding(), ("metadata", "name"), "tried")
"""A binding with messages, which exclude a promptTemplate."""


def all_constraints(part: str) -> list[Constraint]:
    found: list[Constraint] = []
    for kind in KINDS:
        schema: dict[str, Any] = dict(kind_schema(kind))
        properties = schema["properties"]
        if part == "status" and "status" in properties:
            document: dict[str, Any] = example(properties["status"])
            found += constraints(kind.__name__, properties["status"], {"status": document}, ("status",))
        if part == "spec":
            kept = {name: child for name, child in properties.items() if name != "status"}
            spec = {**schema, "properties": kept}
            without = TEMPLATE_OR_MESSAGES[1] if kind is AdapterBinding else None
            found += constraints(kind.__name__, spec, NEW[kind.__name__], without=without)
            if kind is AdapterBinding:
                of_a_chat = constraints(kind.__name__, spec, CHAT, without=TEMPLATE_OR_MESSAGES[0])
                found += [one for one in of_a_chat if one.steps[:3] == TEMPLATE_OR_MESSAGES[1]]
    return found


SPEC, STATUS = all_constraints("spec"), all_constraints("status")


@pytest.mark.parametrize("constraint", SPEC, ids=lambda constraint: constraint.label)
def test_spec(admission: Admission, constraint: Constraint) -> None:
    send = admission.create
    if constraint.keyword != "rule":
        tries = list(attempts(constraint, constraint.document))
    elif is_transition(constraint):
        tries, send = list(transition_attempts(constraint, STORED[constraint.kind])), admission.update
    else:
        tries = list(rule_attempts(constraint, constraint.document))
    assert any(attempt.refused_at is not None for attempt in tries)
    for attempt in tries:
        judge(attempt, send(attempt.document))


@pytest.mark.parametrize("constraint", STATUS, ids=lambda constraint: constraint.label)
def test_status(admission: Admission, constraint: Constraint) -> None:
    schema: dict[str, Any] = next(dict(kind_schema(kind)) for kind in KINDS if kind.__name__ == constraint.kind)
    document = {**STORED[constraint.kind], "status": example(schema["properties"]["status"])}
    tries = list((rule_attempts if constraint.keyword == "rule" else attempts)(constraint, document))
    for attempt in tries:
        judge(attempt, admission.update(attempt.document, subresource="/status"))


def judge(attempt: Attempt, causes: list[tuple[str, str]]) -> None:
    if attempt.refused_at is None:
        assert causes == []
    else:
        found = [message for field, message in causes if field == attempt.refused_at]
        assert any(attempt.message in message for message in found), f"{attempt} but was told {causes}"


def test_every_written_case_belongs_to_a_rule() -> None:
    messages = {constraint.argument["message"] for constraint in SPEC if constraint.keyword == "rule"}
    assert set(CASES) <= messages


def test_all_kinds_of_constraints_are_there() -> None:
    keywords = {constraint.keyword for constraint in SPEC}
    assert keywords == {
        *("required", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
        *("minItems", "maxItems", "maxProperties", "unique", "rule"),
    }

"""The API server and the operator accept the same objects.

What the models accept, the schema accepts, and the other way round: an object that passed admission never fails to
parse in the operator. CEL rules are outside of this: they are stricter than the models, and need a real API server.
"""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, validators
from jsonschema.exceptions import ValidationError
from pydantic import BaseModel
from pydantic import ValidationError as ModelError

from relora_contract.crd.definition import KINDS, kind_schema
from samples.kinds import every_kind

SCHEMAS: dict[str, dict[str, Any]] = {kind.__name__: dict(kind_schema(kind)) for kind in KINDS}
MODELS: dict[str, type[BaseModel]] = {kind.__name__: kind for kind in KINDS}


def _whole_pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    """Match as Go and Rust do: `$` is the end of the text, not the place before a last line feed."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


Validator: Any = validators.extend(Draft4Validator, {"pattern": _whole_pattern})  # type: ignore[no-untyped-call] # untyped


VALIDATORS = {kind: Validator(schema) for kind, schema in SCHEMAS.items()}


def schema_accepts(kind: str, document: object) -> bool:
    return bool(VALIDATORS[kind].is_valid(document))


def model_accepts(kind: str, document: object) -> bool:
    try:
        MODELS[kind].model_validate_json(json.dumps(document), strict=True)
    except ModelError:
        return False
    return True


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values that `schema` accepts."""
    found: st.SearchStrategy[Any]
    match schema:
        case {"enum": choices}:
            found = st.sampled_from(choices)
        case {"pattern": pattern, "maxLength": longest, **rest}:
            text = st.from_regex(pattern.replace("$", r"\Z"), fullmatch=True).filter(
                lambda value: len(value) <= longest
            )
            found = st.one_of(text, st.integers(0, 99)) if "x-kubernetes-int-or-string" in rest else text
        case {"type": "string"}:
            letters = st.characters(exclude_categories=["Cs"])
            found = st.text(letters, min_size=schema.get("minLength", 0), max_size=min(20, schema["maxLength"]))
        case {"type": "boolean"}:
            found = st.booleans()
        case {"type": "integer"}:
            found = st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))
        case {"type": "array", "items": items}:
            low = schema.get("minItems", 0)
            found = st.lists(values_of(items), min_size=low, max_size=max(low, 2))
        case {"additionalProperties": inner}:
            found = st.dictionaries(st.text("abc./-", min_size=1, max_size=8), values_of(inner), max_size=2)
        case {"properties": properties}:
            required = set(schema.get("required", ()))
            found = st.fixed_dictionaries(
                {name: values_of(child) for name, child in properties.items() if name in required},
                optional={name: values_of(child) for name, child in properties.items() if name not in required},
            )
        case _:
            raise AssertionError(schema)
    return found


SPECS = {kind: values_of(schema["properties"]["spec"]) for kind, schema in SCHEMAS.items()}
STATUSES = {
    kind: values_of(schema["properties"]["status"])
    for kind, schema in SCHEMAS.items()
    if "status" in schema["properties"]
}


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_samples_are_accepted_by_both(kind: str) -> None:
    document = every_kind()[kind]
    assert schema_accepts(kind, document)
    assert model_accepts(kind, document)


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_models_accept_what_the_schema_accepts_and_write_it_back(kind: str, data: st.DataObject) -> None:
    document = {**every_kind()[kind], "spec": data.draw(SPECS[kind])}
    if kind in STATUSES:
        document["status"] = data.draw(STATUSES[kind])
    parsed = MODELS[kind].model_validate(document)
    written = {**parsed.model_dump(mode="json", by_alias=True, exclude_none=True), "apiVersion": "v", "kind": kind}
    VALIDATORS[kind].validate(written)
    assert MODELS[kind].model_validate(written) == parsed


def _places(value: object, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if steps:
        yield steps
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _places(child, (*steps, name))
    if isinstance(value, list):
        for index, child in enumerate(value):
            yield from _places(child, (*steps, index))


PLACES = {kind: sorted(_places(document["spec"]), key=str) for kind, document in every_kind().items()}

EDGES = st.one_of(
    st.sampled_from(["", "a", "A", "-a", "a-", "a.b", "a\n", "ä", "True", "1", "-1", "0.5", ".5", "1e5", "1e-3", "+1"]),
    st.sampled_from(
        ["s3://b", "s3://bucket", "s3://bucket/", "s3://bucket/a b", "s3://bucket/{namespace}", "hf://a/b"]
    ),
    st.sampled_from(["sha256:" + "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha512:" + "a" * 64]),
    st.sampled_from([40, 41, 63, 64, 104, 105, 200, 201, 253, 254, 317, 318, 1024, 1025, 8192, 8193]).map("a".__mul__),
    st.integers(-2, 2),
    st.sampled_from([100, 101, 256, 257, 10_000, 10_001, 86_400, 86_401, 2**31 - 1, 2**31, 2**40]),
    st.booleans(),
    st.builds(list),
    st.builds(dict),
    st.lists(st.sampled_from(["a", "b", 1]), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["a", "name", "kind"]), st.sampled_from(["a", 1]), min_size=1),
)


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
@settings(max_examples=200)
@given(data=st.data())
def test_schema_and_models_refuse_the_same(kind: str, data: st.DataObject) -> None:
    document = deepcopy(every_kind()[kind])
    *way, last = data.draw(st.sampled_from(PLACES[kind]))
    parent = document["spec"]
    for step in way:
        parent = parent[step]
    if data.draw(st.booleans()):
        parent[last] = data.draw(EDGES)
    else:
        del parent[last]
    assume(not _number_beyond_its_rule(document))
    assert schema_accepts(kind, document) == model_accepts(kind, document)


def _number_beyond_its_rule(document: dict[str, Any]) -> bool:
    """Patterns bind strings only; where a number may stand for its text, which numbers are right is a CEL rule."""
    spec = document["spec"]
    resources, rollout = spec.get("resources"), spec.get("rollout")
    groups = resources.values() if isinstance(resources, dict) else []
    quantities = [value for group in groups if isinstance(group, dict) for value in group.values()]
    quantities.append(spec.get("scratchSizeLimit"))
    budget = rollout.get("failureBudget") if isinstance(rollout, dict) else None
    counts = [budget.get("maxFailed")] if isinstance(budget, dict) else []
    bounds = [(quantity, 10**15) for quantity in quantities] + [(count, 10**6) for count in counts]
    return any(isinstance(number, int) and not 0 <= number < bound for number, bound in bounds)

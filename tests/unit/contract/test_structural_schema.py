"""Every construct of pydantic is either rewritten or refused with its path."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints

from relora_contract.crd.rules import ATOMIC, INT_OR_STRING, cel, immutable, remedy, validations
from relora_contract.crd.schema import SchemaError, structural_schema
from relora_contract.model import Model

Word = Annotated[str, StringConstraints(max_length=10)]
SPEC = Field(description="Something.")


class Inner(Model):
    """An inner object."""

    word: Word = SPEC


def property_of(annotation: object, **field: object) -> dict[str, Any]:
    """Return the schema of the one property of a model with this field."""
    model = type(
        "Outer",
        (Model,),
        {
            "__doc__": "An object.",
            "__module__": __name__,
            "__annotations__": {"some_field": annotation},
            "some_field": Field(description="Something.", **field),  # type: ignore[call-overload] # any keywords
        },
    )
    schema: dict[str, Any] = structural_schema(model)["properties"]  # type: ignore[assignment] # JSON is not typed
    found: dict[str, Any] = schema["someField"]
    return found


def test_absent_and_null_are_the_same_so_optional_fields_are_not_required() -> None:
    class Outer(Model):
        """An object."""

        given: Word = SPEC
        optional: Word | None = Field(default=None, description="Something.")

    assert structural_schema(Outer) == {
        "description": "An object.",
        "type": "object",
        "required": ["given"],
        "properties": {
            "given": {"description": "Something.", "type": "string", "maxLength": 10},
            "optional": {"description": "Something.", "type": "string", "maxLength": 10},
        },
    }


def test_references_are_inlined_and_the_description_of_the_field_wins() -> None:
    assert property_of(Inner)["properties"] == {
        "word": {"description": "Something.", "type": "string", "maxLength": 10}
    }
    assert property_of(Inner)["description"] == "Something."


def test_rules_of_type_and_field_add_up() -> None:
    checked = Annotated[str, StringConstraints(max_length=10, pattern="^a$"), Field(json_schema_extra=remedy("an a"))]
    schema = property_of(checked | None, default=None, json_schema_extra=immutable("make a new one"))
    assert schema["pattern"] == "^a$"
    assert schema["x-kubernetes-validations"] == [
        {"rule": 'self.matches("^a$")', "message": "an a"},
        {"rule": "self == oldSelf", "message": "the field is immutable: make a new one"},
    ]
    assert not [keyword for keyword in schema if keyword.startswith("x-relora")]


def test_constant_becomes_enum() -> None:
    assert property_of(Literal["Deployment"]) == {
        "description": "Something.",
        "type": "string",
        "enum": ["Deployment"],
    }


def test_defaults_stay_in_python() -> None:
    assert "default" not in property_of(int, default=8)


def test_exclusive_bounds_take_the_form_of_openapi_3_0() -> None:
    schema = property_of(Annotated[int, Field(gt=0, lt=9)])
    assert (schema["minimum"], schema["exclusiveMinimum"]) == (0, True)
    assert (schema["maximum"], schema["exclusiveMaximum"]) == (9, True)


def test_quantities_may_be_numbers() -> None:
    quantity = Annotated[str, StringConstraints(max_length=10), Field(json_schema_extra=INT_OR_STRING)]
    schema = property_of(quantity)
    assert "type" not in schema
    assert schema["x-kubernetes-int-or-string"] is True
    assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}]


def test_bounds_of_keys_become_a_rule() -> None:
    key = Annotated[str, StringConstraints(min_length=1, max_length=5)]
    schema = property_of(Annotated[dict[key, Word], Field(max_length=3)])
    assert schema["x-kubernetes-validations"] == [
        cel("self.all(key, key.size() >= 1 && key.size() <= 5)", "keys have 1 to 5 characters")
    ]


class Endless(Model):
    """Refers to itself."""

    next: "Endless | None" = Field(default=None, description="The next.")


@pytest.mark.parametrize(
    ("annotation", "field", "problem"),
    [
        pytest.param(str, {}, "someField: maxLength is missing", id="unbounded string"),
        pytest.param(list[Word], {"json_schema_extra": ATOMIC}, "someField: maxItems is missing", id="unbounded list"),
        pytest.param(
            list[Word], {"max_length": 3}, "someField: x-kubernetes-list-type is missing", id="list without merge rule"
        ),
        pytest.param(dict[Word, Word], {}, "someField: maxProperties is missing", id="unbounded map"),
        pytest.param(dict[str, Word], {"max_length": 3}, "someField: the keys of the map have no bounds", id="keys"),
        pytest.param(int | Word, {}, "someField: a union of types", id="union"),
        pytest.param(Word | None, {}, "someField: a field that may be None needs the default None", id="null"),
        pytest.param(Literal[1], {}, "someField: only strings may be constants", id="constant number"),
        pytest.param(Any, {}, "someField: the type is missing", id="any"),
        pytest.param(set[Word], {}, "someField: 'uniqueItems' is not allowed", id="set"),
        pytest.param(tuple[int, int], {}, "someField: 'prefixItems' is not allowed", id="tuple"),
        pytest.param(int, {"json_schema_extra": {"oneOf": []}}, "someField: 'oneOf' is not allowed", id="oneOf"),
        pytest.param(Endless, {}, "someField.next: Endless refers to itself", id="recursion"),
        pytest.param(
            Word, {"json_schema_extra": remedy("write a word")}, "someField: the remedy has no pattern", id="remedy"
        ),
        pytest.param(
            Word,
            {"json_schema_extra": validations(cel("true", "two\nlines"))},
            "someField: a CEL rule needs a message of one line",
            id="message",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_its_path(
    annotation: object, field: dict[str, object], problem: str
) -> None:
    with pytest.raises(SchemaError) as refused:
        property_of(annotation, **field)
    assert str(refused.value).startswith(problem)


def test_every_field_needs_a_description() -> None:
    class Outer(Model):
        """An object."""

        silent: int

    with pytest.raises(SchemaError, match=r"^spec\.silent: the field has no description"):
        structural_schema(Outer, path="spec")

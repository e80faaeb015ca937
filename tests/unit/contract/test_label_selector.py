import pytest

from relora_contract.api.meta import LabelSelector

LABELS = {"stage": "production", "team": "search"}


def select(**content: object) -> bool:
    return LabelSelector.model_validate(content).matches(LABELS)


def requirement(key: str, operator: str, *values: str) -> list[dict[str, object]]:
    return [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]


def test_empty_selector_matches_everything() -> None:
    assert select()
    assert LabelSelector().matches({})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"stage": "production"}, True),
        ({"stage": "production", "team": "search"}, True),
        ({"stage": "staging"}, False),
        ({"stage": "production", "team": "ads"}, False),
        ({"absent": "x"}, False),
    ],
)
def test_match_labels_must_all_be_equal(labels: dict[str, str], *, expected: bool) -> None:
    assert select(matchLabels=labels) is expected


@pytest.mark.parametrize(
    ("key", "operator", "values", "expected"),
    [
        ("stage", "In", ("production", "staging"), True),
        ("stage", "In", ("staging",), False),
        ("absent", "In", ("production",), False),
        ("stage", "NotIn", ("staging",), True),
        ("stage", "NotIn", ("production",), False),
        # As in Kubernetes: an object without the label is "not in" every set.
        ("absent", "NotIn", ("production",), True),
        ("stage", "Exists", (), True),
        ("absent", "Exists", (), False),
        ("absent", "DoesNotExist", (), True),
        ("stage", "DoesNotExist", (), False),
    ],
)
def test_operators_are_those_of_kubernetes(key: str, operator: str, values: tuple[str, ...], *, expected: bool) -> None:
    assert select(matchExpressions=requirement(key, operator, *values)) is expected


def test_labels_and_expressions_must_both_hold() -> None:
    assert select(matchLabels={"stage": "production"}, matchExpressions=requirement("team", "Exists"))
    assert not select(matchLabels={"stage": "production"}, matchExpressions=requirement("team", "DoesNotExist"))
    assert not select(matchLabels={"stage": "staging"}, matchExpressions=requirement("team", "Exists"))

import json
import tracemalloc
from collections.abc import Callable

from relora_contract.api.binding import AdapterBinding
from relora_contract.model import Model
from relora_operator.kube.compact import compact
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import parse_newer, parse_own
from samples.kinds import binding

DIGEST = f"sha256:{'7' * 64}"
CONDITION = {"type": "Ready", "status": "True", "reason": "Promoted", "lastTransitionTime": "2026-11-01T10:00:00Z"}


def served(name: str) -> JsonObject:
    """Return a binding from JSON of its own, in which one digest stands twice."""
    pair = {
        "releaseName": "r1",
        "base": {"uri": "s3://b", "digest": DIGEST},
        "adapter": {"uri": "s3://a", "digest": DIGEST},
    }
    status = {"observedGeneration": 1, "conditions": [CONDITION], "current": pair, "history": [pair]}
    raw: JsonObject = json.loads(json.dumps({**binding(name), "status": status}))
    return raw


def test_parsed_objects_share_the_sets_of_given_fields_and_copies_do_not_change_them() -> None:
    one, two = (parse_own(AdapterBinding, binding(name)) for name in ("one", "two"))
    given = set(one.spec.task.model_fields_set)
    assert one.spec.model_fields_set is two.spec.model_fields_set
    assert one.spec.task.model_fields_set is two.spec.task.model_fields_set
    assert one.spec.quality.gates[0].model_fields_set is two.spec.quality.gates[0].model_fields_set

    changed = one.spec.task.model_copy(update={"max_length": None, "choices": None})

    assert one.spec.task.model_fields_set == two.spec.task.model_fields_set == given
    assert changed.choices is None
    assert one == parse_own(AdapterBinding, binding("one"))


def test_parsed_objects_share_their_texts() -> None:
    one, two = (parse_own(AdapterBinding, served(name)) for name in ("one", "two"))

    current, history = one.status.current, two.status.history
    assert current is not None
    assert current.adapter.digest is history[0].base.digest
    assert one.status.conditions[0].last_transition_time is two.status.conditions[0].last_transition_time


def test_a_compact_model_is_the_same_as_the_one_that_it_was_made_of() -> None:
    plain = AdapterBinding.model_validate(served("one"))

    small = compact(plain)

    assert small == plain
    assert small.to_json() == plain.to_json()
    assert small.model_copy() == plain
    assert type(small.spec.task.kind) is type(plain.spec.task.kind)


def test_a_parsed_object_takes_a_third_of_the_memory() -> None:
    before = parse_own(AdapterBinding, served("one"))
    plain = bytes_of(lambda: AdapterBinding.model_validate(served("one")))

    assert bytes_of(lambda: parse_own(AdapterBinding, served("one"))) < plain / 3
    assert bytes_of(lambda: parse_newer(AdapterBinding, served("one"), before)) < plain / 3


class Fresh(Model):
    one: str
    two: str
    three: str
    four: str


def test_copies_that_were_made_before_do_not_keep_the_names_of_attributes_from_being_shared() -> None:
    plain = Fresh(one="1", two="2", three="3", four="4")
    copies = [plain.model_copy() for _ in range(100)]

    assert bytes_of(lambda: compact(copies[0])) < 0.7 * bytes_of(plain.model_copy)


def bytes_of(make: Callable[[], Model]) -> int:
    """Return what a hundred objects take that are made one after the other."""
    make()
    tracemalloc.start()
    try:
        kept = [make() for _ in range(100)]
        return tracemalloc.get_traced_memory()[0] if kept else 0
    finally:
        tracemalloc.stop()

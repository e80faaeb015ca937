from relora_contract.api.binding import AdapterBinding
from relora_operator.kube.parse import parse_own
from samples.kinds import binding


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

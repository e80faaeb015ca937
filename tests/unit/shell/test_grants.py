from relora_operator.core.actions import Key
from relora_operator.loop.grants import Grants

ONE = Key("AdapterBinding", "tenant", "one")
TWO = Key("AdapterBinding", "tenant", "two")


def test_only_new_holders_are_reported() -> None:
    grants = Grants()

    assert grants.replace("r2", {ONE}) == {ONE}
    assert grants.replace("r2", {ONE, TWO}) == {TWO}
    assert grants.replace("r2", {TWO}) == set()


def test_a_slot_that_was_taken_back_is_gone() -> None:
    grants = Grants()
    grants.replace("r2", {ONE})

    grants.replace("r2", set())

    assert not grants.holds(ONE)


def test_slots_of_a_deleted_release_are_gone_and_those_of_others_stay() -> None:
    grants = Grants()
    grants.replace("r2", {ONE})
    grants.replace("r3", {TWO})

    grants.clear("r2")

    assert not grants.holds(ONE)
    assert grants.holds(TWO)

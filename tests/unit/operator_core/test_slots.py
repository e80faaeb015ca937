from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.builders import at, make_binding, make_release
from relora_operator.core.actions import Key
from relora_operator.core.attempts import LONGEST_BACKOFF_SECONDS, ready_at
from relora_operator.core.lineage import chain
from relora_operator.core.pairs import baseline
from relora_operator.core.participation import Participant
from relora_operator.core.slots import grants

ORDER = chain("tiny", [make_release("r1"), make_release("r2", "r1")])


def participant(name: str, namespace: str, *, running: bool = False, minutes: float = 0) -> Participant:
    builder = make_binding(name, namespace, minutes=minutes).pursuing("r2").told("UpToDate", "Queued")
    binding = (builder.with_job() if running else builder).build()
    start = baseline(binding, ORDER)
    assert start is not None
    return Participant(binding=binding, start=start, release="r2")


def test_the_namespace_with_the_fewest_jobs_comes_first_and_there_the_oldest_binding() -> None:
    everyone = [
        participant("a", "big", running=True),
        participant("b", "big", minutes=1),
        participant("young", "small", minutes=9),
        participant("old", "small", minutes=8),
    ]
    names = {key.name for key in grants(everyone, frozenset(), 2)}
    assert names == {"a", "old"}


def test_a_promise_is_kept_when_an_older_binding_appears() -> None:
    late = participant("late", "team", minutes=5)
    granted = grants([late], frozenset(), 1)
    assert granted == {late.key}
    assert grants([late, participant("early", "team")], granted, 1) == {late.key}


def test_a_lower_limit_takes_no_slot_from_a_job_but_breaks_promises() -> None:
    running = [participant("a", "team", running=True), participant("b", "team", running=True)]
    promised = participant("c", "team")
    assert grants([*running, promised], frozenset({promised.key}), 1) == {one.key for one in running}


FLEETS = st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=12)


@settings(max_examples=40, deadline=None)
@given(FLEETS, st.integers(1, 6), st.integers(0, 12))
def test_slots_are_used_up_never_exceeded_and_kept(fleet: list[tuple[str, bool]], limit: int, promises: int) -> None:
    everyone = [
        participant(f"b{index}", namespace, running=running) for index, (namespace, running) in enumerate(fleet)
    ]
    running = {one.key for one in everyone if one.holds_slot}
    promised = frozenset(one.key for one in everyone[:promises])

    given_away = grants(everyone, promised, limit)

    assert running <= given_away
    assert len(given_away) == max(len(running), min(limit, len(everyone)))
    assert grants(everyone, given_away, limit) == given_away
    fair_share(everyone, given_away - running - promised, given_away)


def fair_share(everyone: list[Participant], chosen: frozenset[Key], held: frozenset[Key]) -> None:
    """No namespace got a free slot while another that waits held two fewer."""
    load = Counter(key.namespace for key in held)
    waiting = {one.key.namespace for one in everyone if one.key not in held}
    for key in chosen:
        assert all(load[key.namespace] <= load[other] + 1 for other in waiting)


def test_back_off_doubles_from_ten_minutes_to_six_hours() -> None:
    def pause(failures: int) -> float:
        candidate = make_binding().failed_on("r2", None, failures=failures).build().status.candidate
        assert candidate is not None
        ready = ready_at(candidate)
        assert ready is not None
        return (ready - at(5)).total_seconds()

    assert [pause(failures) for failures in (1, 2, 3)] == [600, 1200, 2400]
    assert pause(10) == LONGEST_BACKOFF_SECONDS == 6 * 3600

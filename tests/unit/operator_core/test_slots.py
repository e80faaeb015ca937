from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.builders import at, make_binding, make_profile, make_release, tally_from
from relora_operator.core.actions import Key
from relora_operator.core.attempts import LONGEST_BACKOFF_SECONDS, ready_at
from relora_operator.core.lineage import chain
from relora_operator.core.pairs import baseline
from relora_operator.core.participation import Participant
from relora_operator.core.slots import UNLIMITED, Pace, pace_of
from relora_operator.core.slots import grants as grants_of

ORDER = chain("tiny", [make_release("r1"), make_release("r2", "r1")])


def participant(
    name: str, namespace: str, *, running: bool = False, minutes: float = 0, priority: int | None = None
) -> Participant:
    builder = make_binding(name, namespace, minutes=minutes, priority=priority)
    builder = builder.pursuing("r2").told("UpToDate", "Running" if running else "Queued")
    binding = (builder.with_job() if running else builder).build()
    start = baseline(binding, ORDER)
    assert start is not None
    return Participant(binding=binding, start=start, release="r2")


def grants(everyone: list[Participant], granted: frozenset[Key], limits: Pace) -> frozenset[Key]:
    return grants_of(tally_from(everyone), granted, limits)


def pace(in_all: int, in_a_namespace: int | None = None) -> Pace:
    return Pace(in_all=in_all, in_a_namespace=in_a_namespace or in_all)


def test_the_namespace_with_the_fewest_jobs_comes_first_and_there_the_oldest_binding() -> None:
    everyone = [
        participant("a", "big", running=True),
        participant("b", "big", minutes=1),
        participant("young", "small", minutes=9),
        participant("old", "small", minutes=8),
    ]
    names = {key.name for key in grants(everyone, frozenset(), pace(2))}
    assert names == {"a", "old"}


def test_a_promise_is_kept_when_an_older_binding_appears() -> None:
    late = participant("late", "team", minutes=5)
    granted = grants([late], frozenset(), pace(1))
    assert granted == {late.key}
    assert grants([late, participant("early", "team", priority=9)], granted, pace(1)) == {late.key}


def test_a_lower_limit_takes_no_slot_from_a_job_but_breaks_promises() -> None:
    running = [participant("a", "team", running=True), participant("b", "team", running=True)]
    promised = participant("c", "team")
    assert grants([*running, promised], frozenset({promised.key}), pace(1)) == {one.key for one in running}


def test_within_a_namespace_the_highest_priority_comes_first_and_across_namespaces_none_counts() -> None:
    everyone = [
        participant("plain", "big"),
        participant("urgent", "big", minutes=1, priority=10),
        participant("later", "big", minutes=2, priority=-10),
        participant("other", "small", minutes=9, priority=-1000),
    ]
    names = [{key.name for key in grants(everyone, frozenset(), pace(slots))} for slots in (1, 2, 3, 4)]
    assert names == [
        {"urgent"},
        {"urgent", "other"},
        {"urgent", "other", "plain"},
        {"urgent", "other", "plain", "later"},
    ]


def test_a_namespace_gets_no_more_slots_than_its_own_limit_although_others_are_free() -> None:
    everyone = [participant(f"b{index}", "big") for index in range(4)] + [participant("only", "small")]
    first = grants(everyone, frozenset(), pace(4, 2))
    assert Counter(key.namespace for key in first) == {"big": 2, "small": 1}
    assert grants(everyone, first, pace(4, 1)) < first


def test_a_release_without_limits_has_the_default_and_none_of_its_own_for_a_namespace() -> None:
    assert pace_of(make_release("r2")) == pace(8)
    limited = make_release("r2", rollout={"maxRunningJobs": 6, "maxRunningJobsPerNamespace": 2})
    assert pace_of(limited) == pace(6, 2)


def queued(name: str, namespace: str = "team") -> Participant:
    """A binding whose Job a queue holds."""
    one = participant(name, namespace, running=True)
    told = make_binding(name, namespace).pursuing("r2").told("UpToDate", "Queued").with_job().build()
    return Participant(binding=told, start=one.start, release="r2")


def test_a_job_that_a_queue_holds_keeps_its_slot_and_is_not_active() -> None:
    held, waits = queued("held"), participant("waits", "team")
    assert grants([held, waits], frozenset(), pace(1)) == {held.key, waits.key}
    running = participant("runs", "team", running=True)
    assert grants([held, running, waits], frozenset(), pace(1)) == {held.key, running.key}


def test_a_queue_takes_so_many_jobs_and_no_more_whoever_runs() -> None:
    limits = Pace(in_all=2, in_a_namespace=2, in_queue=3, queued=True)
    waiting = [participant(f"b{index}", "team") for index in range(5)]
    first = grants(waiting, frozenset(), limits)
    assert len(first) == 3
    assert grants(waiting, first, limits) == first
    held = [queued(f"q{index}") for index in range(3)]
    assert grants([*held, *waiting], frozenset(), limits) == {one.key for one in held}
    running = [participant(f"r{index}", "team", running=True) for index in range(2)]
    assert grants([*running, *waiting], frozenset(), limits) == {one.key for one in running}


def test_where_a_queue_sets_the_pace_a_release_limits_it_only_on_demand() -> None:
    profile = make_profile(scheduling={"localQueueName": "gpus"})
    assert pace_of(make_release("r2"), make_profile()) == pace(8)
    free = pace_of(make_release("r2"), profile)
    assert (free.in_all, free.in_a_namespace, free.in_queue, free.queued) == (UNLIMITED, UNLIMITED, 100, True)
    limited = pace_of(make_release("r2", rollout={"maxRunningJobs": 6, "maxQueuedJobs": 9}), profile)
    assert (limited.in_all, limited.in_a_namespace, limited.in_queue) == (6, 6, 9)


FLEETS = st.lists(st.tuples(st.sampled_from("xyz"), st.booleans(), st.integers(-1, 1)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(FLEETS, st.integers(1, 6), st.integers(1, 6), st.integers(0, 12))
def test_slots_are_used_up_never_exceeded_and_kept(
    fleet: list[tuple[str, bool, int]], limit: int, limit_of_each: int, promises: int
) -> None:
    everyone = [
        participant(f"b{index}", namespace, running=running, priority=priority)
        for index, (namespace, running, priority) in enumerate(fleet)
    ]
    running = {one.key for one in everyone if one.holds_slot}
    promised = frozenset(one.key for one in everyone[:promises])
    limits = pace(limit, limit_of_each)

    given_away = grants(everyone, promised, limits)

    assert running <= given_away
    assert len(given_away) <= max(len(running), limit)
    had = Counter(key.namespace for key in running)
    load = Counter(key.namespace for key in given_away)
    assert all(load[namespace] <= max(had[namespace], limit_of_each) for namespace in load)
    left = [one for one in everyone if one.key not in given_away]
    assert not left or len(given_away) >= limit or all(load[one.key.namespace] >= limit_of_each for one in left)
    assert grants(everyone, given_away, limits) == given_away
    fair_share(everyone, given_away - running - promised, given_away, limit_of_each)
    for one in left:
        chosen = [other for other in everyone if other.key in given_away - running - promised]
        same = [other for other in chosen if other.key.namespace == one.key.namespace]
        assert all((other.binding.spec.priority or 0) >= (one.binding.spec.priority or 0) for other in same)


def fair_share(everyone: list[Participant], chosen: frozenset[Key], held: frozenset[Key], limit_of_each: int) -> None:
    """No namespace got a free slot while another that waits, and may have one more, held two fewer."""
    load = Counter(key.namespace for key in held)
    waiting = {one.key.namespace for one in everyone if one.key not in held}
    for key in chosen:
        assert all(load[key.namespace] <= load[other] + 1 for other in waiting if load[other] < limit_of_each)


def test_back_off_doubles_from_ten_minutes_to_six_hours() -> None:
    def pause(failures: int) -> float:
        candidate = make_binding().failed_on("r2", None, failures=failures).build().status.candidate
        assert candidate is not None
        ready = ready_at(candidate)
        assert ready is not None
        return (ready - at(5)).total_seconds()

    assert [pause(failures) for failures in (1, 2, 3)] == [600, 1200, 2400]
    assert pause(10) == LONGEST_BACKOFF_SECONDS == 6 * 3600

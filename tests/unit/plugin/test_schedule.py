"""The order in which Jobs would start is the one in which the operator gives slots."""

from hypothesis import given
from hypothesis import strategies as st

from fleet.builders import MODEL, BindingBuilder, make_binding, make_release, tally_from
from relora_kubectl.schedule import Task, schedule
from relora_operator.core.actions import Key
from relora_operator.core.lineage import chain
from relora_operator.core.membership import binding_key
from relora_operator.core.pairs import baseline
from relora_operator.core.participation import Participant
from relora_operator.core.reasons import Reason
from relora_operator.core.slots import Pace, grants

CHAIN = chain(MODEL, [make_release("r1"), make_release("r2", "r1")])
WAITING = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 4), st.integers(0, 3), st.sampled_from([-5, 0, 5])
    ),
    min_size=1,
    max_size=9,
)
"""Namespace, age, duration, readiness and priority of bindings."""


def participant(builder: BindingBuilder) -> Participant:
    binding = builder.build()
    start = baseline(binding, CHAIN)
    assert start is not None
    return Participant(binding=binding, start=start, release="r2")


def given_by_the_operator(builders: dict[Key, BindingBuilder], tasks: dict[Key, Task], pace: Pace) -> dict[Key, float]:
    """Play the slots through moment by moment with the operator's own function."""
    started: dict[Key, float] = {}
    for now in range(100):
        running = {key for key, start in started.items() if start + tasks[key].seconds > now}
        waiting = {key for key in tasks.keys() - started.keys() if tasks[key].ready_seconds <= now}
        everyone = [participant(builders[key].pursuing("r2").with_job()) for key in sorted(running)]
        everyone += [participant(builders[key].told("UpToDate", Reason.QUEUED)) for key in sorted(waiting)]
        chosen = grants(tally_from(everyone), frozenset(running), pace)
        started |= {key: float(now) for key in chosen - running}
    return started


@given(waiting=WAITING, pace=st.builds(Pace, in_all=st.integers(1, 4), in_a_namespace=st.integers(1, 4)))
def test_slots_are_given_as_the_operator_gives_them(waiting: list[tuple[str, int, int, int, int]], pace: Pace) -> None:
    builders, tasks = {}, {}
    for index, (namespace, minutes, seconds, ready, priority) in enumerate(waiting):
        builder = make_binding(f"b{index}", namespace, minutes=minutes, priority=priority)
        key = binding_key(builder.build())
        builders[key] = builder
        created = builder.build().metadata.creation_timestamp
        tasks[key] = Task(key=key, created=created, seconds=seconds, ready_seconds=ready, priority=priority)
    starts = schedule(tasks.values(), pace)
    assert {start.key: start.start_seconds for start in starts} == given_by_the_operator(builders, tasks, pace)
    assert [start.start_seconds for start in starts] == sorted(start.start_seconds for start in starts)


def test_what_runs_holds_its_slot() -> None:
    def task(name: str, seconds: float) -> Task:
        return Task(key=Key("AdapterBinding", "team", name), created="2026", seconds=seconds)

    starts = schedule([task("waits", 5)], Pace(in_all=1, in_a_namespace=1), running=[task("runs", 7)])
    assert [(start.key.name, start.start_seconds, start.end_seconds) for start in starts] == [("waits", 7, 12)]


def test_nothing_to_start() -> None:
    assert schedule([], Pace(in_all=3, in_a_namespace=3)) == []
